"""Models that compare each part with a picture of a faultless one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from edgeinspect.bundle.card import (
    Activation,
    Card,
    ClassCard,
    ColorOrder,
    Fit,
    InputCard,
    OutputCard,
    Role,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.certificate import Certificate, Tolerance
from edgeinspect.bundle.directory import Bundle, load_bundle, write_bundle
from edgeinspect.bundle.golden import check_golden, make_golden
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.bundle.preprocess import with_reference
from edgeinspect.bundle.reference import REFERENCE_FILE
from edgeinspect.errors import InferenceFailed, ModelRefused
from edgeinspect.hw.fake_engine import FakeEngine
from edgeinspect.part import Frame, FrameMeta, Region

SIDE = 32


def input_card(**changes: object) -> InputCard:
    """A grey tile and its reference; pixel value p is quantized to p - 128."""
    values = {
        "shape": (1, SIDE, SIDE, 2),
        "dtype": "int8",
        "scale": 1.0,
        "zero_point": -128,
        "color": ColorOrder.GRAY,
        "tile_overlap_px": 8,
        "reference": True,
        "mean": (0.0,),
        "std": (1.0,),
    }
    return InputCard.model_validate(values | changes)


def card() -> Card:
    output = OutputCard(
        shape=(1, 8, 8, 1),
        dtype="int8",
        scale=1 / 255,
        zero_point=-128,
        activation=Activation.NONE,
        stride_px=4,
    )
    return Card(
        name="differences",
        version="1",
        task=Task.SEGMENTATION,
        input=input_card(),
        output=output,
        classes=(ClassCard(name="other", role=Role.DEFECT),),
        thresholds={"default": ThresholdCard(review=0.3, reject=0.5)},
        licence="none",
    )


def difference_engine() -> FakeEngine:
    """Gives the largest difference between part and reference in each cell."""

    def script(tile: NDArray[np.generic]) -> NDArray[np.generic]:
        wide = np.asarray(tile, np.int16)
        apart = np.abs(wide[..., 0] - wide[..., 1]).reshape(8, 4, 8, 4).max(axis=(1, 3))
        return np.asarray(apart - 128, np.int8)[..., None]

    ends = card().input.spec("input"), card().output.spec("output")
    return FakeEngine(input_spec=ends[0], output_spec=ends[1], script=script)


def board(seed: int, height: int = 50, width: int = 70) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def written(folder: Path, *, reference: NDArray[np.uint8] | None = None) -> Bundle:
    golden = make_golden(card(), [with_reference(board(1), board(2))], difference_engine())
    others = {}
    if reference is not None:
        others = {REFERENCE_FILE: cv2.imencode(".png", reference)[1].tobytes()}
    return write_bundle(
        folder,
        card=card(),
        model=b"the engine is a fake",
        golden=golden,
        certificate=Certificate(tolerance=Tolerance(output_steps=0, score_error=0.0)),
        others=others,
    )


def frame_of(pixels: NDArray[np.uint8]) -> Frame:
    return Frame(FrameMeta(sequence=1, exposure_mono_ns=0, arrived_mono_ns=0), pixels)


def test_only_what_differs_from_the_reference_is_found(tmp_path: Path) -> None:
    faultless = board(3)
    part = faultless.copy()
    part[20, 41] ^= 0xFF
    change = abs(int(part[20, 41]) - int(faultless[20, 41])) / 255
    inspector = Inspector(written(tmp_path / "b"), difference_engine(), Region(5, 4, 60, 40))
    same = inspector.inspect(frame_of(faultless), reference=faultless)
    assert same.scores == (0.0,)
    other = inspector.inspect(frame_of(part), reference=faultless)
    assert other.scores == (pytest.approx(change),)
    assert other.worst_region == Region(41, 20, 4, 4)


def test_the_bundles_own_reference_is_used_and_verified(tmp_path: Path) -> None:
    faultless = board(4)
    bundle = written(tmp_path / "b", reference=faultless)
    inspector = Inspector(bundle, difference_engine(), None)
    assert inspector.inspect(frame_of(faultless)).scores == (0.0,)
    colour = np.repeat(faultless[..., None], 3, axis=2)
    assert inspector.inspect(frame_of(colour)).scores == (0.0,)
    assert inspector.inspect(frame_of(faultless), reference=board(5)).scores[0] > 0.5

    loaded = load_bundle(bundle.directory)
    path = bundle.directory / REFERENCE_FILE
    path.chmod(0o644)
    path.write_bytes(cv2.imencode(".png", board(6))[1].tobytes())
    with pytest.raises(ModelRefused, match="not the file that the card was written for"):
        Inspector(loaded, difference_engine(), None)


def test_without_a_fitting_reference_nothing_is_inspected(tmp_path: Path) -> None:
    inspector = Inspector(written(tmp_path / "b"), difference_engine(), None)
    with pytest.raises(InferenceFailed, match="70 x 50 px; it has none"):
        inspector.inspect(frame_of(board(7)))
    with pytest.raises(InferenceFailed, match="it has one of 40 x 30 px"):
        inspector.inspect(frame_of(board(7)), reference=board(8, 30, 40))


def test_the_golden_check_covers_the_reference(tmp_path: Path) -> None:
    bundle = written(tmp_path / "b")
    assert check_golden(bundle, difference_engine()).max_output_steps == 0

    def blind(tile: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.full((8, 8, 1), -128, np.int8)

    ends = card().input.spec("input"), card().output.spec("output")
    engine = FakeEngine(input_spec=ends[0], output_spec=ends[1], script=blind)
    with pytest.raises(ModelRefused, match="different results on this machine"):
        check_golden(bundle, engine)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"shape": (1, SIDE, SIDE, 1)}, "2 channel"),
        ({"reference": False}, "1 channel"),
        ({"fit": Fit.RESIZE, "tile_overlap_px": 0}, "fit: tiles"),
        ({"color": ColorOrder.RGB, "mean": (0.0,) * 3, "std": (1.0,) * 3}, "color: gray"),
    ],
)
def test_cards_that_contradict_the_reference_fail(changes: dict[str, object], key: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=key):
        input_card(**changes)


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="reference"):
        with_reference(board(1), board(1, 40, 70))
