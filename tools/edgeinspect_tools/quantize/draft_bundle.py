"""A card and a bundle in memory, for a model whose bundle is still in the making."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from edgeinspect.bundle.card import (
    DEFAULT_THRESHOLD,
    Card,
    InputCard,
    ReducerCard,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.certificate import Certificate, Tolerance
from edgeinspect.bundle.directory import MAX_MODEL_BYTES, Bundle, read_bounded, sha256_of
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect.files.json_text import parse_json
from edgeinspect.hw.litert import Kernels, open_model
from edgeinspect.hw.model_probe import try_bare
from edgeinspect_tools.quantize.int8 import open_model as open_interpreter

RUN_FILE = "run.json"
FLOAT_MODEL = "model.float.tflite"
INT8_MODEL = "model.int8.tflite"
QUANTIZED_FILE = "quantized.json"

_ALIKE = 1e-3
DEFAULT_LIMITS = ThresholdCard(review=0.3, reject=0.5)
LOOSE = Tolerance(output_steps=64, score_error=0.25)


def load_run(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The description of a finished training run and its float model.

    Raises:
        UsageError: the folder holds no finished run.
        ModelRefused: the model is not the one that the run ended with.
    """
    path = folder / RUN_FILE
    try:
        described = parse_json(path.read_bytes())
        wanted = str(described["model"]["sha256"])
    except OSError as error:
        raise UsageError(
            f"{folder} is not a finished training run: {path.name} cannot be read "
            f"({error.strerror or error}).",
            next_action="Give the folder that edgeinspect-tools train wrote.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the description of a training run.") from error
    file = folder / str(described["model"]["file"])
    model = read_bounded(file, MAX_MODEL_BYTES)
    if sha256_of(model) != wanted:
        raise ModelRefused(f"{folder / FLOAT_MODEL} is not the model that the run ended with.")
    try_bare(model, source=str(file))
    return described, model


def card_of(
    described: Mapping[str, Any],
    model: bytes,
    *,
    name: str = "draft",
    version: str = "1",
    licence: str = "unknown",
    **more: Any,
) -> Card:
    """The card of a run's model, float (a draft, for ``FloatModel``) or int8.

    Args:
        described: the content of ``run.json``, or as much of it as a card needs.
        more: further entries of the card, or instead of the run's.

    Raises:
        ModelRefused: description and model contradict each other.
    """
    interpreter = open_interpreter(model)
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    entry = {
        key: value
        for key, value in described["input"].items()
        if key not in ("tile_height_px", "tile_width_px")
    }
    is_classifier = Task(described["task"]) is Task.CLASSIFICATION
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "task": described["task"],
        "classes": tuple(described["classes"]),
        "reducer": (not is_classifier and described.get("reducer")) or ReducerCard(),
        "thresholds": described.get("thresholds"),
        "licence": licence,
        **more,
    }
    card = make_card(
        _tensor(source), _tensor(sink), input=entry, output=described["output"], **fields
    )
    if source["dtype"] is np.float32:
        return card
    return card.model_copy(update={"input": _on_whole_steps(card.input)})


def make_card(
    source: Mapping[str, Any],
    sink: Mapping[str, Any],
    *,
    input: Mapping[str, Any],
    output: Mapping[str, Any],
    thresholds: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Card:
    """A card, validated; every card of the tools is made here.

    Args:
        source: shape, dtype, scale and zero point of the model's input.
        sink: the same of its output.
        input: further fields of the card's input.
        output: further fields of the card's output.
        thresholds: None or empty for the default ones.
        fields: the other fields of the card.

    Raises:
        ModelRefused: the fields contradict the model or one another.
    """
    try:
        return Card.model_validate(
            {
                **fields,
                "input": {**input, **source},
                "output": {**output, **sink},
                "thresholds": dict(thresholds or {DEFAULT_THRESHOLD: DEFAULT_LIMITS}),
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the card"
        raise ModelRefused(
            f"The model does not fit its description: {key}: {first['msg']}."
        ) from error


def _on_whole_steps(card: InputCard) -> InputCard:
    """Another mean where each grey level lies half-way between two steps of the model's input.

    Halves round away from zero, so that levels below the mean would go down and those above it up,
    and the step between them count double. Half a level more moves all of them alike.
    """
    mean = []
    for level, std in zip(card.mean, card.std, strict=True):
        step = std * card.scale
        is_half = abs(step - 1) < _ALIKE and abs(level / step % 1 - 0.5) < _ALIKE
        mean.append(round(level + step / 2, 6) if is_half else level)
    return card.model_copy(update={"mean": tuple(mean)})


def _tensor(details: Mapping[str, Any]) -> dict[str, Any]:
    scale, zero_point = details["quantization"]
    is_float = details["dtype"] is np.float32
    return {
        "shape": tuple(int(extent) for extent in details["shape"]),
        "dtype": "int8" if is_float else np.dtype(details["dtype"]).name,
        "scale": 1.0 if is_float else float(scale),
        "zero_point": 0 if is_float else int(zero_point),
    }


def bundle_in_memory(card: Card, model: bytes) -> Bundle:
    """A bundle that was never written, for an ``Inspector``; it has no golden data."""
    certificate = Certificate(tolerance=LOOSE)
    return Bundle(Path("draft"), card, certificate, "0" * 64, model, b"")


@contextmanager
def inspector_of(bundle: Bundle) -> Iterator[Inspector]:
    """The station's inspection of whole pictures: fast kernels, one interpreter on one core."""
    source = str(bundle.directory / bundle.card.model)
    engine = open_model(bundle.model, source=source, threads=1, kernels=Kernels.FAST, probe=False)
    try:
        yield Inspector(bundle, engine, None)
    finally:
        engine.close()
