"""A finished training run made by hand: a float network that finds bright squares, and pictures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import Dataset
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.quantize.gap import Gap

SIDE_PX = 32
STRIDE_PX = 4


def conv_model(
    weights: NDArray[np.float32], bias: NDArray[np.float32], *, side_px: int, stride: int
) -> bytes:
    """One float convolution (out, h, w, in) without a signature, as old converters wrote them."""
    channels_out, channels_in = weights.shape[0], weights.shape[3]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT()
    operator.builtinOptions.strideW = operator.builtinOptions.strideH = stride
    operator.builtinOptions.padding = schema.Padding.SAME
    graph = schema.SubGraphT()
    cells = side_px // stride
    shapes = [
        (b"picture", (1, side_px, side_px, channels_in), 0),
        (b"weights", weights.shape, 1),
        (b"bias", bias.shape, 2),
        (b"logits", (1, cells, cells, channels_out), 0),
    ]
    graph.tensors = [_tensor(*entry) for entry in shapes]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    for buffer, values in zip(model.buffers[1:], (weights, bias), strict=True):
        buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: bytes, shape: tuple[int, ...], buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type = schema.TensorType.FLOAT32
    return tensor


def spot_model() -> bytes:
    """Logit of a 4 x 4 cell: its mean, on a scale where 127.5 is 0 and 255 is 1, times 12, less 4.

    Two classes; the second sees half as much.
    """
    weights = np.full((2, STRIDE_PX, STRIDE_PX, 1), 12 / STRIDE_PX**2, np.float32)
    weights[1] /= 2
    bias = np.array([-4.0, -4.0], np.float32)
    return conv_model(weights, bias, side_px=SIDE_PX, stride=STRIDE_PX)


def write_pictures(folder: Path, *, good: int = 24, each: int = 14, side_px: int = 48) -> Path:
    """``good``: dark noise; ``spot`` and ``blot``: one bright square in it."""
    rng = np.random.default_rng(5)
    for kind, count in (("good", good), ("spot", each), ("blot", each)):
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(20, 120, (side_px, side_px)).astype(np.uint8)
            if kind != "good":
                size = 8 if kind == "spot" else 12
                x, y = (int(at) for at in rng.integers(0, side_px - size, 2))
                pixels[y : y + size, x : x + size] = rng.integers(205, 255)
            cv2.imwrite(str(folder / kind / f"{kind}{index:02d}.png"), pixels)
    return folder


def read_dataset(folder: Path, *, seed: int = 1) -> Dataset:
    return build_dataset(read_source(folder), seed=seed).dataset


def write_run(run: Path, dataset: Dataset, model: bytes | None = None, **entry: object) -> Path:
    """The folder that a training would have left behind; ``entry`` is said of the input."""
    from edgeinspect_tools.train.training_run import manifest_digest

    model = spot_model() if model is None else model
    run.mkdir()
    (run / "model.float.tflite").write_bytes(model)
    described = {
        "format": 1,
        "data": {"root": str(dataset.root), "sha256": manifest_digest(dataset)},
        "task": "segmentation",
        "classes": [{"name": name, "role": "defect"} for name in dataset.defect_classes],
        "input": {
            "color": "gray",
            "mean": [127.5],
            "std": [127.5],
            "reference": False,
            "fit": "tiles",
            "tile_height_px": SIDE_PX,
            "tile_width_px": SIDE_PX,
            "tile_overlap_px": 8,
            **entry,
        },
        "output": {"activation": "sigmoid", "stride_px": STRIDE_PX},
        "reducer": {"kind": "max", "k": 1},
        "thresholds": {"default": {"review": 0.3, "reject": 0.5}},
        "seed": dataset.seed,
        "settings": {},
        "model": {"file": "model.float.tflite", "sha256": hashlib.sha256(model).hexdigest()},
    }
    (run / "run.json").write_text(json.dumps(described))
    return run


def gap_that(
    *,
    pairs: int = 100_000,
    lost: float = 0.0,
    auroc_int8: float | None = None,
    loss_error: float | None = 0.0,
    max_error: float = 0.0,
    flips_outside: int = 0,
) -> Gap:
    """A gap to judge, from a float model with an AUROC of 0.99 unless the int8 one's is given."""
    auroc_float = 0.99 if auroc_int8 is None else auroc_int8 + lost
    return Gap(
        pictures=20, pairs=pairs, auroc_float=auroc_float, auroc_int8=auroc_float - lost,
        auroc_loss_error=loss_error, flips=0, flips_outside_band=flips_outside, mean_error=0.0,
        max_error=max_error, agreement=1.0, map_error={},
    )  # fmt: skip
