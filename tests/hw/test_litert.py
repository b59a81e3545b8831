"""The engine on models made on the spot: what runs, what is refused and with which words."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.errors import DriverMissing, InferenceFailed, ModelRefused, UsageError
from edgeinspect.hw.arrangement import Arrangement, candidates, median_run_ns
from edgeinspect.hw.fake_engine import FakeEngine
from edgeinspect.hw.interpreters import Lane, Loader
from edgeinspect.hw.litert import Kernels, LiteRtEngine, open_model
from edgeinspect.hw.model_file import check_against_card, read_model
from edgeinspect.hw.runtime_library import load_library
from edgeinspect.ports import TensorSpec
from tests.helpers.tiny_model import INT8_SCALE, INT8_ZERO_POINT, max_pool_model


def open_tiny(model: bytes | None = None, **options: Any) -> LiteRtEngine:
    options = {"probe": False, **options}
    model = max_pool_model() if model is None else model
    return open_model(model, source="tiny.tflite", **options)


def noise(count: int, shape: tuple[int, ...] = (16, 16, 1)) -> list[NDArray[np.int8]]:
    rng = np.random.default_rng(7)
    return [rng.integers(-128, 128, shape).astype(np.int8) for _ in range(count)]


def pooled(tile: NDArray[np.int8]) -> NDArray[np.int8]:
    return np.asarray(tile.reshape(4, 4, 4, 4, 1).max(axis=(1, 3)), np.int8)


@pytest.mark.parametrize("arrangement", ["threads", "interpreters", "batch", "auto"])
def test_every_arrangement_gives_the_outputs_in_the_order_of_the_tiles(arrangement: str) -> None:
    engine = open_tiny(arrangement=arrangement, threads=3, tiles_at_once=4)
    for count in (0, 1, 3, 4, 11):
        tiles = noise(count)
        outputs = engine.run(tiles)
        assert len(outputs) == count
        for tile, output in zip(tiles, outputs, strict=True):
            assert np.array_equal(output, pooled(tile))
    engine.close()


def test_several_threads_share_an_engine() -> None:
    engine = open_tiny(arrangement="interpreters", threads=2, tiles_at_once=4)
    tiles = noise(12)
    expected = [pooled(tile) for tile in tiles]
    wrong: list[int] = []

    def look() -> None:
        for _ in range(30):
            outputs = engine.run(tiles)
            wrong.extend(i for i, o in enumerate(outputs) if not np.array_equal(o, expected[i]))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    assert wrong == []


def test_specs_and_description_say_what_runs() -> None:
    fast, reference = open_tiny(threads=1), open_tiny(kernels=Kernels.REFERENCE)
    assert fast.input_spec.scale == pytest.approx(INT8_SCALE, rel=1e-6)
    assert replace(fast.input_spec, scale=INT8_SCALE) == TensorSpec(
        name="picture",
        shape=(1, 16, 16, 1),
        dtype="int8",
        scale=INT8_SCALE,
        zero_point=INT8_ZERO_POINT,
    )
    assert fast.output_spec.shape == (1, 4, 4, 1)
    assert fast.description.startswith(("litert ", "tflite-runtime "))
    assert "1 interpreter, 1 thread" in fast.description
    assert "reference kernels" in reference.description


def test_a_view_of_a_larger_picture_is_a_tile() -> None:
    picture = noise(1, (40, 40, 1))[0]
    (output,) = open_tiny(threads=1).run([picture[5:21, 9:25]])
    assert np.array_equal(output, pooled(np.ascontiguousarray(picture[5:21, 9:25])))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"", "is empty"),
        (b"no model at all", "not a TFLite model"),
        (b"\x1c\0\0\0TFL3" + b"\0" * 64, "cannot be run|damaged"),
        (max_pool_model(dtype="float32"), "float model: its input is float32"),
        (max_pool_model(custom_op="edgetpu-custom-op"), "compiled for the Edge TPU"),
        (max_pool_model(custom_op="home-made"), "operator home-made"),
        (max_pool_model(outputs=2), "1 inputs and 2 outputs"),
        (max_pool_model(scale=0.0), "not have exactly one scale"),
    ],
)
def test_refusals_are_one_sentence(model: bytes, words: str) -> None:
    with pytest.raises(ModelRefused, match=words) as caught:
        open_model(model, source="tiny.tflite", probe=False)
    assert caught.value.exit_code == 5
    assert caught.value.message.startswith("tiny.tflite")
    assert "\n" not in str(caught.value)


def test_a_truncated_model_is_refused_at_every_length() -> None:
    model = max_pool_model()
    for length in range(len(model)):
        with pytest.raises(ModelRefused):
            open_tiny(model[:length])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (1, 8, 8, 1)}, "shape"),
        ({"dtype": "uint8"}, "dtype"),
        ({"scale": 0.5}, "scale"),
        ({"zero_point": 3}, "zero point"),
    ],
)
def test_a_tensor_that_is_not_the_cards_is_refused(change: dict[str, Any], words: str) -> None:
    found = TensorSpec(name="a", shape=(1, 16, 16, 1), dtype="int8", scale=0.1, zero_point=0)
    card = replace(found, **change)
    with pytest.raises(ModelRefused, match=f"tiny: the model's input has {words}"):
        check_against_card(found, card, "input", "tiny")
    check_against_card(found, replace(found, name="b"), "input", "tiny")


def test_wrong_tiles_fail_and_a_closed_engine_answers_nothing() -> None:
    engine = open_tiny(threads=2, arrangement="interpreters")
    with pytest.raises(InferenceFailed, match="Expected a tile of int8"):
        engine.run([np.zeros((16, 15, 1), np.int8)])
    with pytest.raises(InferenceFailed, match="Expected a tile of int8"):
        engine.run([np.zeros((16, 16, 1), np.uint8)])
    engine.close()
    engine.close()
    with pytest.raises(InferenceFailed, match="closed"):
        engine.run(noise(1))


@pytest.mark.parametrize("arrangement", ["threads", "interpreters"])
def test_a_closed_engine_holds_no_interpreter(
    arrangement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: weakref.WeakSet[Lane] = weakref.WeakSet()
    load = Loader.lane

    def counted(loader: Loader, **options: Any) -> Lane:
        lane = load(loader, **options)
        loaded.add(lane)
        return lane

    monkeypatch.setattr(Loader, "lane", counted)
    engine = open_tiny(arrangement=arrangement, threads=2, tiles_at_once=4)
    engine.run(noise(4))
    assert loaded
    engine.close()
    engine.close()
    gc.collect()
    assert not loaded
    with pytest.raises(InferenceFailed, match="closed"):
        engine.run(noise(1))


def test_a_lane_that_fails_midway_is_an_inference_failure_and_the_engine_goes_on() -> None:
    engine = open_tiny(arrangement="interpreters", threads=2, tiles_at_once=4)
    lane = engine._idle.get()
    assert lane is not None
    original, failing = lane._invoke, iter([True])

    def invoke(values: NDArray[Any]) -> NDArray[Any]:
        if next(failing, False):
            raise RuntimeError("out of arena")
        return original(values)

    lane._invoke = invoke  # type: ignore[method-assign]
    engine._idle.put(lane)
    with pytest.raises(InferenceFailed, match="out of arena"):
        for _ in range(20):
            engine.run(noise(4))
    assert len(engine.run(noise(4))) == 4
    engine.close()


def test_runtimes_are_chosen_by_name() -> None:
    with pytest.raises(UsageError, match="Unknown inference runtime"):
        load_library("onnx")
    with pytest.raises(UsageError, match="Unknown arrangement"):
        open_tiny(arrangement="best")
    with pytest.raises(UsageError, match="Unknown delegate"):
        open_tiny(delegate="gpu")


def test_a_missing_runtime_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(DriverMissing, match=r"tflite-runtime.*pip install 'edgeinspect\[legacy\]'"):
        load_library("tflite-runtime")


def test_without_the_edge_tpu_library_its_delegate_is_missing() -> None:
    with pytest.raises(DriverMissing, match="Edge TPU delegate"):
        open_tiny(delegate="edgetpu")


def test_missing_huge_and_odd_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="is missing"):
        read_model(tmp_path / "no.tflite")
    with pytest.raises(ModelRefused, match="not a regular file"):
        read_model(tmp_path)
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(ModelRefused, match="larger than 256 MiB"):
        read_model(huge)


def test_candidates_follow_cores_tiles_and_the_wish() -> None:
    assert candidates("auto", cores=1, tiles=1) == [Arrangement()]
    assert candidates("auto", cores=4, tiles=1) == [Arrangement(threads=4), Arrangement()]
    auto = candidates("auto", cores=2, tiles=6)
    assert auto[0] == Arrangement(interpreters=2)
    assert Arrangement(threads=2, batch=6) in auto
    assert len(set(auto)) == len(auto)
    assert candidates("interpreters", cores=2, tiles=1) == [Arrangement(interpreters=2)]


def test_measuring_ends_within_its_runs() -> None:
    runs: list[int] = []
    tiles: list[NDArray[np.generic]] = [*noise(2)]
    assert median_run_ns(lambda tiles: runs.append(len(tiles)), tiles, budget_ns=0) >= 0
    assert runs == [2, 2, 2]


def spec(*shape: int) -> TensorSpec:
    return TensorSpec(name="t", shape=shape, dtype="int8", scale=0.1, zero_point=0)


def test_the_fake_engine_is_strict() -> None:
    output = np.ones((2, 2, 1), np.int8)
    fake = FakeEngine(
        input_spec=spec(1, 4, 4, 1),
        output_spec=spec(1, 2, 2, 1),
        script=[output, RuntimeError("arena"), np.zeros((1, 1, 1), np.int8)],
    )
    tile = np.zeros((4, 4, 1), np.int8)
    assert fake.run([tile])[0] is output
    with pytest.raises(InferenceFailed, match="arena"):
        fake.run([tile])
    with pytest.raises(AssertionError, match="wrong"):
        fake.run([tile])
    with pytest.raises(AssertionError, match="no more"):
        fake.run([tile])
    with pytest.raises(InferenceFailed, match="Expected a tile of"):
        fake.run([tile[:3]])
    fake.close()
    with pytest.raises(InferenceFailed, match="closed"):
        fake.run([tile])
    assert len(fake.tiles) == 4
