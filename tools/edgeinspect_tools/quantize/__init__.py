"""Float TFLite to full int8, with the loss in total and by layer."""

from edgeinspect_tools.quantize.int8 import (
    TrueRanges,
    float_tflite,
    open_model,
    quantize_int8,
    seen_ranges,
    tensorflow_int8,
)

__all__ = [
    "TrueRanges",
    "float_tflite",
    "open_model",
    "quantize_int8",
    "seen_ranges",
    "tensorflow_int8",
]
