"""The path from a frame to its scores, with a model whose right answer is known."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.bundle.card import (
    Card,
    ClassCard,
    Fit,
    ReducerCard,
    ReducerKind,
    Role,
    Task,
    ThresholdCard,
)
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.errors import InferenceFailed
from edgeinspect.hw.litert import LiteRtEngine, open_engine
from edgeinspect.line.scores import Activation
from edgeinspect.part import Frame, FrameMeta, Region
from tests.helpers.bundle_samples import SPOT, spot_bundle

ROI = Region(7, 5, 61, 43)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return spot_bundle(tmp_path_factory.mktemp("bundles"), tile_overlap_px=4)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> LiteRtEngine:
    return open_engine(bundle, arrangement="interpreters", threads=2, tiles_at_once=20)


def frame_of(pixels: NDArray[Any]) -> Frame:
    pixels.setflags(write=False)
    return Frame(FrameMeta(sequence=1, exposure_mono_ns=0, arrived_mono_ns=0), pixels)


@given(x=st.integers(0, ROI.width - 1), y=st.integers(0, ROI.height - 1))
def test_a_spot_anywhere_in_the_region_is_scored_and_located(
    bundle: Bundle, engine: LiteRtEngine, x: int, y: int
) -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[ROI.y + y, ROI.x + x] = 204
    found = Inspector(bundle, engine, ROI).inspect(frame_of(pixels), want_map=True)
    assert found.scores == (pytest.approx(204 / 255),)
    assert (found.top_class, found.top_score) == ("spot", found.scores[0])
    assert found.order_statistics[0][1] == 0.0
    box = found.worst_region
    assert box is not None
    assert box.x <= ROI.x + x < box.x + box.width <= ROI.x + ROI.width
    assert box.y <= ROI.y + y < box.y + box.height <= ROI.y + ROI.height
    assert max(box.width, box.height) <= 4
    shown = found.score_map
    assert shown is not None
    assert (shown.roi, shown.stride_px, shown.classes) == (ROI, 4, ("spot",))
    assert shown.scores.shape == (11, 16, 1)
    assert np.argwhere(shown.scores[:, :, 0] > 0).tolist() == [[y // 4, x // 4]]


def test_what_is_outside_the_region_does_not_count(bundle: Bundle, engine: LiteRtEngine) -> None:
    pixels = np.full((60, 80), 255, np.uint8)
    pixels[ROI.y : ROI.y + ROI.height, ROI.x : ROI.x + ROI.width] = 0
    found = Inspector(bundle, engine, ROI).inspect(frame_of(pixels))
    assert found.scores == (0.0,)
    assert found.worst_region is None
    assert found.score_map is None
    assert found.quality.mean == 0.0


def test_the_recipes_reducer_replaces_the_cards(bundle: Bundle, engine: LiteRtEngine) -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[20, 20] = pixels[30, 40] = 102
    second = ReducerCard(kind=ReducerKind.KTH_LARGEST, k=2)
    third = ReducerCard(kind=ReducerKind.KTH_LARGEST, k=3)
    frame = frame_of(pixels)
    assert Inspector(bundle, engine, ROI, reducer=second).inspect(frame).scores[0] > 0.39
    assert Inspector(bundle, engine, ROI, reducer=third).inspect(frame).scores[0] == 0.0


def test_threads_share_an_inspector_and_see_their_own_frames(
    bundle: Bundle, engine: LiteRtEngine
) -> None:
    inspector = Inspector(bundle, engine, ROI)
    wrong: list[int] = []

    def look(level: int) -> None:
        for step in range(25):
            pixels = np.zeros((60, 80), np.uint8)
            pixels[10 + step, 10 + level] = 10 * level
            if inspector.inspect(frame_of(pixels)).scores != (pytest.approx(10 * level / 255),):
                wrong.append(level)

    threads = [threading.Thread(target=look, args=(level,)) for level in (5, 12, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_without_a_region_every_size_of_frame_is_inspected_whole(
    bundle: Bundle, engine: LiteRtEngine
) -> None:
    inspector = Inspector(bundle, engine, None)
    for size in range(3, 40, 3):
        pixels = np.zeros((size, 2 * size), np.uint8)
        pixels[-1, -1] = 255
        found = inspector.inspect(frame_of(pixels))
        assert found.scores == (1.0,)
        assert found.worst_region is not None
        assert found.worst_region.x + found.worst_region.width == 2 * size


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((47, 80), np.uint8),
        np.zeros((60, 67), np.uint8),
        np.zeros((60, 80), np.uint16),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((0, 80), np.uint8),
    ],
)
def test_frames_that_do_not_fit_fail_and_never_score(
    bundle: Bundle, engine: LiteRtEngine, pixels: NDArray[Any]
) -> None:
    with pytest.raises(InferenceFailed, match=r"region|frame is"):
        Inspector(bundle, engine, ROI).inspect(frame_of(pixels))


def test_a_colour_frame_is_seen_as_luma_by_a_grey_model(
    bundle: Bundle, engine: LiteRtEngine
) -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20, 20] = (0, 255, 0)
    found = Inspector(bundle, engine, ROI).inspect(frame_of(pixels))
    assert found.scores[0] == pytest.approx(0.587, abs=0.005)


def test_a_resized_region_is_located_in_frame_pixels(tmp_path: Path, engine: LiteRtEngine) -> None:
    resized = spot_bundle(tmp_path, name="resized", fit=Fit.RESIZE)
    pixels = np.zeros((64, 128), np.uint8)
    pixels[40:48, 96:112] = 255
    found = Inspector(resized, engine, Region(0, 0, 128, 64)).inspect(
        frame_of(pixels), want_map=True
    )
    box = found.worst_region
    assert box is not None
    assert box.x <= 96 < 112 <= box.x + box.width
    assert box.y <= 40 < 48 <= box.y + box.height
    assert box.width * box.height < 64 * 128 / 2
    shown = found.score_map
    assert shown is not None
    assert shown.stride_px == 16
    assert shown.scores.shape == (4, 8, 1)
    assert shown.scores[44 // 16, 104 // 16, 0] > 0.9


def classifier_card(**changes: Any) -> Card:
    data: dict[str, Any] = {
        "name": "sorter",
        "version": "1",
        "task": Task.CLASSIFICATION,
        "input": {
            "shape": (1, 8, 8, 1),
            "dtype": "uint8",
            "scale": 1.0,
            "zero_point": 0,
            "color": "gray",
            "mean": (0.0,),
            "std": (1.0,),
        },
        "output": {"shape": (1, 3), "dtype": "int8", "scale": 1 / 256, "zero_point": -128},
        "classes": [ClassCard(name="good", role=Role.GOOD), SPOT,
                    ClassCard(name="dent", role=Role.DEFECT)],
        "thresholds": {"default": ThresholdCard(review=0.3, reject=0.5)},
        "licence": "x",
    }  # fmt: skip
    return Card.model_validate({**data, **changes})


def test_a_classifiers_scores_are_the_highest_over_its_tiles() -> None:
    pipeline = Pipeline(classifier_card(), width=20, height=8)
    outputs = [np.array(v, np.int8) for v in ([100, -128, -28], [-128, 0, -128], [90, -64, 22])]
    assert pipeline.tile_count == 3
    found = pipeline.score(outputs)
    assert found.scores == (0.5, 150 / 256)
    assert (found.top_class, found.top_score) == ("good", 228 / 256)
    assert found.worst == Region(12, 0, 8, 8)
    shown, stride = pipeline.score_map(outputs)
    assert stride == 16
    assert shown.shape == (1, 2, 2)
    assert shown[0, 1].tolist() == pytest.approx([0.25, 150 / 256])


def test_an_only_tile_has_no_worst_region() -> None:
    pipeline = Pipeline(classifier_card(), width=8, height=8)
    assert pipeline.score([np.array([-128, 127, 0], np.int8)]).worst is None


def test_softmax_of_a_classifiers_logits() -> None:
    card = classifier_card(
        output={
            "shape": (1, 3), "dtype": "int8", "scale": 0.1, "zero_point": 0,
            "activation": Activation.SOFTMAX,
        }
    )  # fmt: skip
    found = Pipeline(card, width=8, height=8).score([np.array([0, 20, -10], np.int8)])
    exponentials = np.exp([0.0, 2.0, -1.0])
    expected = exponentials / exponentials.sum()
    assert found.scores == pytest.approx(tuple(expected[1:]), abs=1 / 500)
    assert found.top_class == "spot"


def test_softmax_maps_are_scored_by_probability() -> None:
    card = classifier_card(
        task=Task.SEGMENTATION,
        output={
            "shape": (1, 2, 2, 3), "dtype": "int8", "scale": 0.05, "zero_point": 0,
            "activation": Activation.SOFTMAX, "stride_px": 4,
        },
    )  # fmt: skip
    logits = np.zeros((2, 2, 3), np.int8)
    logits[..., 0] = 100
    logits[1, 0] = (0, 120, 0)
    found = Pipeline(card, width=8, height=8).score([logits])
    assert found.scores[0] > 0.98
    assert found.top_class == "spot"
    assert found.worst == Region(0, 4, 4, 4)
