"""Compare a quantized model with its float original: what ``certificate.json`` states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.quantize import open_model

_LAYER_SAMPLES = 12
_NEAR = 0.06
"""Scores within this of a threshold count as being in its band."""


def layer_findings(
    float_model: bytes, int8_model: bytes, samples: Sequence[NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Signal to quantization noise of every activation that both models hold, in dB.

    SQNR = 10 log10(sum(float^2) / sum((float - dequantized)^2)), over the samples. A layer far
    below its neighbours is where accuracy is lost.
    """
    real = open_model(float_model, preserve=True)
    quantized = open_model(int8_model, preserve=True)
    twins = _twins(real, quantized)
    outside: dict[str, list[float]] = {name: [] for name in twins}
    signal = dict.fromkeys(twins, 0.0)
    noise = dict.fromkeys(twins, 0.0)
    for sample in samples[:_LAYER_SAMPLES]:
        _feed(real, sample)
        _feed(quantized, sample)
        for name, (left, right) in twins.items():
            wanted = np.asarray(real.get_tensor(left["index"]), dtype=np.float64)
            found = dequantized(quantized, right)
            low, high = _range_of(right)
            outside[name].append(float(((wanted < low) | (wanted > high)).mean()))
            wanted = np.clip(wanted, low, high)
            signal[name] += float((wanted**2).sum())
            noise[name] += float(((wanted - found) ** 2).sum())
    return [
        {
            "tensor": _short(name),
            "sqnr_db": round(_decibels(signal[name], noise[name]), 1),
            "scale": float(right["quantization"][0]),
            "share_outside_range": round(float(np.mean(outside[name])), 4),
        }
        for name, (_, right) in twins.items()
    ]


def score_error(
    float_maps: Sequence[NDArray[np.floating]], int8_maps: Sequence[NDArray[np.floating]]
) -> dict[str, float]:
    """Absolute difference of the scores, cell by cell."""
    errors = [
        np.abs(np.asarray(left, dtype=np.float64) - right).ravel()
        for left, right in zip(float_maps, int8_maps, strict=True)
    ]
    every = np.concatenate(errors)
    return {
        "mean": round(float(every.mean()), 6),
        "p99_9": round(float(np.quantile(every, 0.999)), 6),
        "max": round(float(every.max()), 6),
    }


def flips(
    float_scores: NDArray[np.float64], int8_scores: NDArray[np.float64], thresholds: Sequence[float]
) -> dict[str, int]:
    """Parts whose verdict at a threshold differs between float and int8.

    Args:
        float_scores: (parts, classes), [0, 1].
        int8_scores: (parts, classes), [0, 1].
        thresholds: one per class.

    Returns:
        parts, those that flip, those that flip although their float score is more than the band
        away from the threshold, and those in the band. A part's score is that of the class which
        is farthest above its threshold, or nearest below it: this one decides the verdict.
    """
    limits = np.asarray(thresholds)
    above = (float_scores - limits).max(axis=1)
    before = above >= 0
    after = (int8_scores >= limits).any(axis=1)
    near = np.abs(above) <= _NEAR
    flipped = before != after
    return {
        "parts": int(before.size),
        "flips": int(flipped.sum()),
        "flips_outside_band": int((flipped & ~near).sum()),
        "parts_in_band": int(near.sum()),
    }


def band() -> float:
    """The half width of the band around a threshold that ``flips`` declares."""
    return _NEAR


def dequantized(interpreter: Any, details: Any) -> NDArray[np.float64]:
    """A tensor's real values; float tensors as they are."""
    values = np.asarray(interpreter.get_tensor(details["index"])).astype(np.float64)
    scale, zero_point = details["quantization"]
    return values if scale == 0 else (values - zero_point) * scale


def _range_of(details: Any) -> tuple[float, float]:
    """The real values of the lowest and highest int8 value."""
    scale, zero_point = details["quantization"]
    return (-128 - zero_point) * scale, (127 - zero_point) * scale


def _feed(interpreter: Any, sample: NDArray[np.float32]) -> None:
    details = interpreter.get_input_details()[0]
    if details["dtype"] is np.int8:
        scale, zero_point = details["quantization"]
        real = np.rint(sample.astype(np.float64) / scale) + zero_point
        interpreter.set_tensor(details["index"], np.clip(real, -128, 127).astype(np.int8))
    else:
        interpreter.set_tensor(details["index"], sample)
    interpreter.invoke()


def _twins(real: Any, quantized: Any) -> dict[str, tuple[Any, Any]]:
    """Activations of the same name and shape in both models, in the graph's order."""
    activations = {
        tensor["name"]: tensor
        for tensor in quantized.get_tensor_details()
        if tensor["dtype"] is np.int8 and len(tensor["quantization_parameters"]["scales"]) == 1
    }
    outputs = [int(i) for op in real._get_ops_details() for i in op["outputs"]]  # noqa: SLF001  the library's
    by_index = {tensor["index"]: tensor for tensor in real.get_tensor_details()}
    twins = {}
    for index in outputs:
        tensor = by_index[index]
        other = activations.get(tensor["name"])
        if other is not None and list(other["shape"]) == list(tensor["shape"]):
            twins[tensor["name"]] = (tensor, other)
    return twins


def _decibels(signal: float, noise: float) -> float:
    return 10 * math.log10(max(signal, 1e-12) / max(noise, 1e-12))


def _short(name: str) -> str:
    """The last operation that a fused tensor's name lists, without the exporter's prefixes."""
    return name.split(";", maxsplit=1)[0].removesuffix("/").split("/", 1)[-1][:80]
