"""Fine-tuning with the rounding of int8 in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import ModelRefused
from edgeinspect.line.scores import Activation
from edgeinspect_tools.cli import application
from edgeinspect_tools.quantize.aware import _RATE, _rate, fine_tune
from edgeinspect_tools.quantize.draft_bundle import load_run
from edgeinspect_tools.quantize.int8 import (
    float_tflite,
    open_model,
    quantize_int8,
    run_tflite,
    seen_ranges,
)
from edgeinspect_tools.quantize.int8_candidates import FineTune, Int8Method
from edgeinspect_tools.quantize.steps import quantize_trained
from edgeinspect_tools.quantize.student import Student
from edgeinspect_tools.train import Network, TrainSettings
from edgeinspect_tools.train.networks import classifier, segmenter
from tests.helpers.chain_samples import (
    SIDE_PX,
    conv_model,
    read_dataset,
    spot_model,
    write_pictures,
    write_run,
)

pytestmark = pytest.mark.filterwarnings("default")  # TensorFlow's own

Sample = NDArray[np.float32]


def random_samples(count: int, side_px: int, channels: int = 1) -> list[Sample]:
    rng = np.random.default_rng(1)
    shape = (1, side_px, side_px, channels)
    return [rng.uniform(-1, 1, shape).astype(np.float32) for _ in range(count)]


def int8_outputs(model: bytes, samples: list[Sample]) -> NDArray[np.float64]:
    interpreter = open_model(model, reference=True)
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = source["quantization"]
    found = []
    for sample in samples:
        given = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], given)
        interpreter.invoke()
        found.append(interpreter.get_tensor(sink["index"]).astype(np.float64))
    scale, zero = sink["quantization"]
    return np.asarray((np.concatenate(found) - zero) * scale, np.float64)


def networks() -> dict[str, Any]:
    import keras

    keras.utils.set_random_seed(2)
    small = TrainSettings(network=Network.TINY)
    large = TrainSettings(network=Network.MOBILENET_V2, alpha=0.35)
    made = {
        "tiny": segmenter(small, channels=1, classes=2, side_px=64, norm=True),
        "classifier": classifier(large, channels=1, classes=3, shape_px=(64, 64), norm=True),
    }
    for network in made.values():
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        network(np.concatenate(random_samples(8, 64)), training=True)
    return made


@pytest.mark.slow
def test_the_student_rounds_as_the_int8_file_does() -> None:
    for name, network in networks().items():
        model = float_tflite(network)
        samples = random_samples(6, 64)
        ranges = seen_ranges(model, samples)
        student = Student(model, ranges)
        wanted = int8_outputs(quantize_int8(model, samples, ranges=ranges), samples)
        found = np.asarray(student(np.concatenate(samples)))
        plain = run_tflite(model)(np.concatenate(samples))
        output = open_model(model).get_output_details()[0]["name"]
        lowest, highest = ranges[output]
        step = (highest - lowest) / 255
        assert found.shape == wanted.shape
        apart = np.abs(found - wanted).mean()
        assert apart < max(0.75 * step, 0.8 * np.abs(plain - wanted).mean()), name
        untouched = run_tflite(student.float_model())(np.concatenate(samples))
        assert untouched == pytest.approx(plain, abs=1e-4), name
        learned = student.ranges()
        with_zero = (min(ranges[output][0], 0.0), max(ranges[output][1], 0.0))
        assert learned[output] == pytest.approx(with_zero, abs=4 * step), name


def test_dilated_convolutions_can_be_fine_tuned() -> None:
    import keras

    picture = keras.Input((16, 16, 1), name="picture")
    x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2, activation="relu")(picture)
    model = float_tflite(keras.Model(picture, keras.layers.Conv2D(1, 1)(x)))
    samples = random_samples(8, 16)
    made = fine_tune(
        model, samples, seen_ranges(model, samples), activation=Activation.NONE, steps=3
    )
    assert made.float_model != model
    assert np.isfinite(made.error_after)


def test_fine_tuning_keeps_to_its_time_and_says_how_far_it_is() -> None:
    import keras

    picture = keras.Input((16, 16, 1), name="picture")
    model = float_tflite(keras.Model(picture, keras.layers.Conv2D(1, 3)(picture)))
    samples = random_samples(8, 16)
    said: list[str] = []
    fine_tune(
        model, samples, seen_ranges(model, samples), activation=Activation.NONE, minutes=1e-6,
        say=said.append,
    )  # fmt: skip
    assert said[0] == "40 steps of fine-tuning, about 0 minutes"
    assert "fine-tuning, 50%" in said
    assert said[-1].startswith("fine-tuned 40 steps on 8 tiles: error ")


def wide_model() -> bytes:
    """Bright squares on dark ground through two channels, the second 2,000 times as loud.

    int8 has one scale for both, so that the quiet one, which tells the squares, is rounded away.
    """
    import keras
    from keras import layers

    picture = keras.Input((SIDE_PX, SIDE_PX, 1), name="picture")
    x = layers.Conv2D(2, 4, 4, activation="relu", name="cells")(picture)
    model = keras.Model(picture, layers.Conv2D(2, 1, name="logits")(x))
    kernel = np.full((4, 4, 1, 2), 1 / 16, np.float32)
    kernel[..., 1] *= 2000
    model.get_layer("cells").set_weights([kernel, np.array([0.0, 2500.0], np.float32)])
    logits = np.array([[[[12.0, 6.0], [1e-7, 1e-7]]]], np.float32)
    model.get_layer("logits").set_weights([logits, np.array([-4.0, -4.0], np.float32)])
    return float_tflite(model)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wide")
    pictures = write_pictures(folder / "pictures")
    return pictures, write_run(folder / "run", read_dataset(pictures), wide_model())


def test_fine_tuning_recovers_what_a_loud_channel_drowned(wide: tuple[Path, Path]) -> None:
    described, model = load_run(wide[1])
    dataset = read_dataset(wide[0])
    ways = (Int8Method.TRUE, Int8Method.ROBUST)
    never = quantize_trained(described, model, dataset, ways, fine_tune=FineTune.NEVER)
    assert never.gap.auroc_float == 1.0
    assert never.gap.auroc_lost > 0.05
    assert not never.gap.is_within_bound
    assert "aware" not in never.tried
    made = quantize_trained(described, model, dataset, ways)
    assert made.method is Int8Method.AWARE
    assert made.gap.is_within_bound
    assert made.gap.auroc_int8 == 1.0
    assert made.gap.mean_error < never.gap.mean_error / 4


def test_fine_tuning_is_kept_only_where_it_is_better(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    described, model = load_run(write_run(tmp_path / "run", read_dataset(pictures)))
    dataset = read_dataset(pictures)
    assert "aware" not in quantize_trained(described, model, dataset, (Int8Method.TRUE,)).tried
    made = quantize_trained(
        described, model, dataset, (Int8Method.TRUE,), fine_tune=FineTune.ALWAYS
    )
    errors = {way: found["score_error_mean"] for way, found in made.tried.items()}
    assert set(errors) == {"true", "aware"}
    assert made.gap.mean_error == pytest.approx(min(errors.values()), abs=1e-6)


def test_what_cannot_be_trained_is_said_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, wide: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeinspect_tools.quantize import student

    monkeypatch.setattr(student, "_LAYERS", ("DEPTHWISE_CONV_2D",))
    with pytest.raises(ModelRefused, match="does not support CONV_2D"):
        Student(spot_model(), {})
    arguments = ["quantize", str(wide[1]), "--data", str(wide[0])]
    assert run_command_line(application, program="edgeinspect-tools", arguments=arguments) == 1
    captured = capsys.readouterr()
    assert "Fine-tuning does not support CONV_2D" in captured.out
    assert "strays too far" in captured.err
    assert not (wide[1] / "model.int8.tflite").exists()


def test_a_tensor_without_a_range_is_refused() -> None:
    dead = conv_model(np.ones((1, 4, 4, 1), np.float32), np.zeros(1, np.float32), side_px=8,
                      stride=4)  # fmt: skip
    with pytest.raises(ModelRefused, match="has no calibrated range"):
        Student(dead, {"picture": (0.0, 1.0)})


def test_few_steps_are_small_ones() -> None:
    peaks = [max(_rate(step, steps) for step in range(steps)) for steps in (40, 200, 400, 800)]
    assert peaks[0] < peaks[2] / 90
    assert peaks[0] < peaks[1] < peaks[2] <= peaks[3] <= _RATE
    assert _rate(399, 400) < peaks[2] / 40
