"""Third-party models from public projects, through the whole path from picture to scores."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.bundle.card import Fit
from edgeinspect.bundle.golden import check_golden
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.errors import ModelRefused
from edgeinspect.hw.litert import open_engine, open_model
from edgeinspect.hw.model_file import read_model
from edgeinspect.part import Frame, FrameMeta, Region
from tests.helpers.real_models import bare_outputs, picture, wrap

CATS = {"282", "283", "286"}
"""Tabby, tiger cat, Egyptian cat. Which of them the smallest model takes hangs on the resize."""

MOBILENETS = {
    "mobilenet_v1_0.25_128_quant": CATS,
    "mobilenet_v1_0.5_160_quant": {"286"},
    "tf2_mobilenet_v2_1.0_224_ptq": {"286"},
}
"""Each with the classes that it may find in the cat."""


def frame_of(pixels: NDArray[np.uint8]) -> Frame:
    return Frame(FrameMeta(sequence=1, exposure_mono_ns=0, arrived_mono_ns=0), pixels)


@pytest.mark.parametrize("name", MOBILENETS)
def test_top_classes_equal_the_bare_interpreters(shared: Path, tmp_path: Path, name: str) -> None:
    coral = shared / "models" / "coral"
    pictures = {subject: picture(coral / f"{subject}.bmp") for subject in ("cat", "dragonfly")}
    bundle = wrap(
        coral / f"{name}.tflite", tmp_path / "bundle", 1001, pictures=list(pictures.values())
    )
    engine = open_engine(bundle, threads=2)
    check_golden(bundle, engine)
    size = bundle.card.input.width
    for subject, pixels in pictures.items():
        found = Inspector(bundle, engine, None).inspect(frame_of(pixels))
        resized = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
        outputs = bare_outputs(bundle.model, resized)
        assert found.top_class == str(int(outputs.argmax()))
        assert found.top_score == pytest.approx(float(outputs.max()) / 256)
        assert found.scores == pytest.approx(outputs[1:] / 256)
        assert found.order_statistics == ()
        assert subject != "cat" or found.top_class in MOBILENETS[name]
    engine.close()


def test_a_large_picture_is_inspected_in_overlapping_tiles(shared: Path, tmp_path: Path) -> None:
    coral = shared / "models" / "coral"
    bundle = wrap(
        coral / "mobilenet_v1_0.25_128_quant.tflite",
        tmp_path / "bundle",
        1001,
        fit=Fit.TILES,
        tile_overlap_px=32,
    )
    pixels = picture(coral / "dragonfly.bmp")[:300, :280]
    roi = Region(3, 5, 270, 290)
    scores = set()
    for arrangement in ("threads", "interpreters", "batch"):
        try:
            engine = open_engine(bundle, arrangement=arrangement, threads=2, tiles_at_once=9)
        except ModelRefused as error:
            assert arrangement == "batch", error
            continue
        found = Inspector(bundle, engine, roi).inspect(frame_of(pixels), want_map=True)
        scores.add(found.scores)
        assert found.score_map is not None
        assert found.score_map.scores.max() == pytest.approx(max(found.scores))
        assert found.worst_region is not None
        assert found.worst_region.x + found.worst_region.width <= roi.x + roi.width
        engine.close()
    assert len(scores) == 1


@pytest.mark.parametrize(("name", "classes"), [("pretrainedResnet_quant", 10), ("vww_96_int8", 2)])
def test_int8_models_of_mlperf_tiny_run_like_the_bare_interpreter(
    shared: Path, tmp_path: Path, name: str, classes: int
) -> None:
    model = shared / "models" / "mlperf_tiny" / f"{name}.tflite"
    cat = picture(shared / "models" / "coral" / "cat.bmp")
    bundle = wrap(model, tmp_path / "bundle", classes, pictures=[cat])
    engine = open_engine(bundle, threads=1)
    check_golden(bundle, engine)
    inspector = Inspector(bundle, engine, None)
    size = bundle.card.input.width
    rng = np.random.default_rng(3)
    tops = set()
    for _ in range(10):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        resized = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        pixels = np.asarray(resized, np.uint8)
        found = inspector.inspect(frame_of(pixels))
        outputs = bare_outputs(bundle.model, (pixels ^ 0x80).view(np.int8))
        assert found.top_class == str(int(outputs.argmax()))
        assert found.scores == pytest.approx((outputs[1:].astype(int) + 128) / 256)
        tops.add(found.top_class)
    assert len(tops) > 1 or classes == 2
    engine.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mlperf_tiny/pretrainedResnet", "float model"),
        ("mlperf_tiny/vww_96_float", "float model"),
        ("coral/mobilenet_v1_0.25_128_quant_edgetpu", "compiled for the Edge TPU"),
        ("coral/model_invoking_error", "operator fake-op-double"),
    ],
)
def test_models_that_no_station_may_use_are_refused(shared: Path, name: str, words: str) -> None:
    path = shared / "models" / f"{name}.tflite"
    with pytest.raises(ModelRefused, match=words) as caught:
        open_model(read_model(path), source=path.name, probe=False)
    assert "\n" not in str(caught.value)


def test_the_tolerance_follows_what_was_measured(shared: Path, tmp_path: Path) -> None:
    model = shared / "models" / "coral" / "mobilenet_v1_0.25_128_quant.tflite"
    cat = picture(shared / "models" / "coral" / "cat.bmp")
    fast = open_model(read_model(model), source="fast", threads=1, probe=False)
    bundle = wrap(model, tmp_path / "bundle", 1001, pictures=[cat])
    report = check_golden(bundle, fast)
    tolerance = bundle.certificate.tolerance
    assert report.max_output_steps < tolerance.output_steps <= 2 * report.max_output_steps + 2
    assert report.max_score_error < tolerance.score_error
    fast.close()


def test_an_embedding_is_no_score(shared: Path, tmp_path: Path) -> None:
    name = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
    with pytest.raises(ModelRefused, match="not scores in"):
        wrap(shared / "models" / "coral" / name, tmp_path / "bundle", 1024)


def test_a_recurrent_model_forgets_the_part_before(shared: Path, tmp_path: Path) -> None:
    model = shared / "models" / "coral" / "keras_lstm_mnist_ptq.tflite"
    bundle = wrap(model, tmp_path / "bundle", 10)
    engine = open_engine(bundle, threads=1)
    inspector = Inspector(bundle, engine, None)
    rng = np.random.default_rng(8)
    pictures = [rng.integers(0, 256, (28, 28), dtype=np.uint8) for _ in range(3)]
    first = [inspector.inspect(frame_of(pixels)).scores for pixels in pictures]
    again = [inspector.inspect(frame_of(pixels)).scores for pixels in reversed(pictures)]
    assert first == again[::-1]
    engine.close()


def test_truncated_real_models_are_refused_or_whole(shared: Path) -> None:
    for name in ("mlperf_tiny/pretrainedResnet_quant", "coral/keras_lstm_mnist_ptq"):
        content = read_model(shared / "models" / f"{name}.tflite")
        rng = np.random.default_rng(2)
        for length in rng.integers(8, len(content) - 8, 40):
            with pytest.raises(ModelRefused):
                open_model(content[: int(length)], source=name, probe=False, threads=1)
