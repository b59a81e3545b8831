"""Whole training runs on a few drawn pictures, interrupted, resumed and broken on purpose."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeinspect.errors import DiskFull, ModelRefused, NotGood, UsageError
from edgeinspect_tools.data.dataset import GOOD, Dataset, Item, Split
from edgeinspect_tools.quantize import open_model
from edgeinspect_tools.train import (
    Network,
    TrainSettings,
    checkpoint,
    train,
    training_run,
)
from edgeinspect_tools.train.encoders import encoder_layers
from edgeinspect_tools.train.maps import MEAN, STD
from edgeinspect_tools.train.networks import segmenter
from edgeinspect_tools.train.weights import load_encoder, tflite_convolutions

pytest.importorskip("tensorflow", reason="the tools extra is not installed")

SHARED = Path(os.environ.get("EDGEINSPECT_SHARED", Path(__file__).parents[3] / "shared"))
QUICK = TrainSettings(
    network=Network.TINY,
    gray=True,
    tile_px=64,
    tile_overlap_px=16,
    crop_px=64,
    batch=4,
    steps=40,
    minutes=30,
    check_every=20,
    rate=5e-3,
    threads=1,
)


def quiet(*, done: float, text: str) -> None:
    assert 0 <= done <= 1.001
    assert text


def dataset(folder: Path, *, masks: bool = True, split: Split | None = None) -> Dataset:
    """Twelve good pictures of noise and twelve with a bright square."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    items = []
    for number in range(24):
        pixels = rng.integers(40, 70, (80, 72), dtype=np.uint8)
        mask = np.zeros_like(pixels)
        bad = number % 2 == 1
        if bad:
            x, y = rng.integers(8, 50, 2)
            mask[y : y + 14, x : x + 14] = 255
            pixels[mask > 0] = rng.integers(190, 220, int((mask > 0).sum()))
        path, mask_path = folder / f"{number}.png", folder / f"{number}_mask.png"
        for target, picture in ((path, pixels), (mask_path, mask)):
            target.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        own = Split.VALIDATION if number % 6 >= 4 else Split.TRAIN
        items.append(
            Item(
                path=path,
                label="square" if bad else GOOD,
                width=72,
                height=80,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                group=str(number),
                split=split or own,
                mask=mask_path if bad and masks else None,
            )
        )
    return Dataset(kind="folders", root=folder, seed=0, items=tuple(items))


def test_a_run_is_interrupted_resumed_and_learns(tmp_path: Path) -> None:
    data, out = dataset(tmp_path / "data"), tmp_path / "run"

    def impatient(*, done: float, text: str) -> None:
        if text.startswith("step 25"):
            raise KeyboardInterrupt

    with pytest.raises(NotGood, match="interrupted after 25 steps") as stopped:
        train(data, QUICK, out, progress=impatient)
    assert "--resume" in stopped.value.next_action
    assert not (out / "run.json").exists()

    with pytest.raises(UsageError, match="a run with other settings"):
        train(data, replace(QUICK, seed=9), out, progress=quiet, resume=True)
    said: list[str] = []

    def listen(*, done: float, text: str) -> None:
        said.append(text)

    done = train(data, QUICK, out, progress=listen, resume=True)
    assert said[0].startswith("step 26,")

    described = json.loads((out / "run.json").read_text())
    assert described["format"] == 1
    assert described["task"] == "segmentation"
    assert described["classes"] == [{"name": "square", "role": "defect"}]
    assert described["input"]["color"] == "gray"
    assert described["output"] == {"activation": "sigmoid", "stride_px": 4}
    assert described["steps"] == 40
    assert [entry["step"] for entry in described["curves"]] == [20, 40]
    assert described["validation"]["auroc"] == 1.0
    thresholds = described["thresholds"]["default"]
    assert 0 < thresholds["review"] <= thresholds["reject"] < 1
    assert described["model"]["sha256"] == hashlib.sha256(done.model.read_bytes()).hexdigest()

    interpreter = open_model(done.model.read_bytes())
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["shape"].tolist() == [1, 64, 64, 1]
    assert sink["shape"].tolist() == [1, 16, 16, 1]
    tile = np.full((1, 64, 64, 1), (55 - MEAN) / STD, np.float32)
    tile[0, 20:36, 24:40] = (205 - MEAN) / STD
    interpreter.set_tensor(source["index"], tile)
    interpreter.invoke()
    logits = interpreter.get_tensor(sink["index"])[0, :, :, 0]
    assert logits[6:8, 7:9].min() > logits[:3].max()


def test_a_disk_that_fills_ends_the_run_and_keeps_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull("checkpoint.npz could not be written (No space left on device).")

    monkeypatch.setattr(checkpoint, "save", full)
    short = replace(QUICK, steps=2, check_every=1)
    with pytest.raises(DiskFull):
        train(dataset(tmp_path / "data"), short, tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_that_cannot_be_learned_from_is_answered_at_once(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")

    def refused(**changes: Any) -> str:
        with pytest.raises(UsageError) as answer:
            train(replace(data, **changes), QUICK, tmp_path / "run", progress=quiet)
        return str(answer.value)

    good = tuple(item for item in data.items if item.is_good)
    bad = tuple(replace(item, mask=None) for item in data.items if not item.is_good)
    assert "good pictures only" in refused(items=good)
    assert "No good picture" in refused(items=bad)
    only_training = tuple(replace(item, split=Split.TRAIN) for item in data.items)
    assert "No defective picture is in the validation split" in refused(items=only_training)
    with pytest.raises(UsageError, match="no reference picture"):
        train(data, replace(QUICK, reference=True), tmp_path / "run", progress=quiet)
    with pytest.raises(UsageError, match="--freeze-stride needs weights"):
        train(data, replace(QUICK, freeze_stride_px=4), tmp_path / "run", progress=quiet)
    with pytest.raises(UsageError, match="cannot start from weights"):
        train(data, replace(QUICK, weights="imagenet"), tmp_path / "run", progress=quiet)
    assert not (tmp_path / "run" / "run.json").exists()


def test_equal_data_gives_equal_digests(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    digest = training_run.manifest_digest(data)
    backwards = replace(data, items=tuple(reversed(data.items)))
    assert training_run.manifest_digest(backwards) == digest
    other = replace(data.items[0], split=Split.TEST)
    assert training_run.manifest_digest(replace(data, items=(other, *data.items[1:]))) != digest


@pytest.mark.training
def test_defects_are_located_from_labels_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", masks=False)
    longer = replace(QUICK, steps=150, check_every=50)
    done = train(data, longer, tmp_path / "run", progress=quiet)
    assert done.description["validation"]["auroc"] >= 0.9


def whole_pictures(folder: Path, method: str) -> TrainSettings:
    """Settings of a classifier, with a narrow encoder of random weights as its first ones."""
    import keras

    keras.utils.set_random_seed(1)
    source = keras.applications.MobileNetV2(
        input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None
    )
    source.save(folder / "source.keras")
    return replace(
        QUICK,
        method=method,
        network=Network.MOBILENET_V2,
        alpha=0.35,
        weights=str(folder / "source.keras"),
        resize_px=64,
        steps=20,
        check_every=10,
        rate=1e-3,
    )


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras, while it saves
def test_a_linear_head_learns_on_a_frozen_encoder(tmp_path: Path) -> None:
    wanted = whole_pictures(tmp_path, "linear-head")
    done = train(dataset(tmp_path / "data"), wanted, tmp_path / "run", progress=quiet)
    found = done.description
    assert (found["task"], found["encoder"], found["steps"]) == ("classification", "frozen", 0)
    assert found["validation"]["auroc"] == 1.0
    sink = open_model(done.model.read_bytes()).get_output_details()[0]
    assert sink["shape"].tolist() == [1, 2]
    with pytest.raises(UsageError, match="needs weights"):
        train(
            dataset(tmp_path / "data"),
            replace(wanted, weights="none"),
            tmp_path / "run",
            progress=quiet,
        )


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras, while it saves
def test_a_classifier_takes_what_validates_better(tmp_path: Path) -> None:
    wanted = whole_pictures(tmp_path, "classification")
    done = train(dataset(tmp_path / "data"), wanted, tmp_path / "run", progress=quiet)
    found = done.description
    assert found["classes"][0] == {"name": "good", "role": "good"}
    better = max(found["frozen_value"], found["fine_tuned_value"])
    chosen = {"frozen": "frozen_value", "fine-tuned": "fine_tuned_value"}[found["encoder"]]
    assert found[chosen] == better
    sink = open_model(done.model.read_bytes()).get_output_details()[0]
    assert sink["shape"].tolist() == [1, 2]


@pytest.mark.training
def test_a_published_int8_file_gives_the_encoders_features() -> None:
    """The features deep in the encoder equal those that the TFLite file computes itself."""
    file = SHARED / "models/coral/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    import keras

    wanted = TrainSettings(
        network=Network.MOBILENET_V2,
        weights=str(file),
        tile_px=224,
        crop_px=224,
        encoder_stride_px=32,
    )
    model = segmenter(wanted, channels=3, classes=2, side_px=224, norm=False)
    load_encoder(model, wanted)
    stored = cv2.imread(str(SHARED / "models/coral/cat.bmp"))
    assert stored is not None
    picture = cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
    real = (cv2.resize(picture, (224, 224)).astype(np.float32) - 127.5) / 127.5
    interpreter = open_model(file.read_bytes(), preserve=True)
    source = interpreter.get_input_details()[0]
    scale, zero = source["quantization"]
    quantized = np.clip(np.rint(real / scale) + zero, 0, 255).astype(source["dtype"])
    interpreter.set_tensor(source["index"], quantized[None])
    interpreter.invoke()
    operators = [
        operator
        for operator in interpreter._get_ops_details()  # noqa: SLF001  the library's
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    layers = encoder_layers(model)
    for number in (0, 8, 20, len(layers) - 1):
        tensor = tensors[int(operators[number]["outputs"][0])]
        scale, zero = tensor["quantization"]
        theirs = (interpreter.get_tensor(tensor["index"]).astype(np.float64) - zero) * scale
        name = layers[number].name
        rectified = name == "Conv1"
        ours = keras.Model(model.input, model.get_layer(name + "_relu" * rectified).output)
        correlation = np.corrcoef(theirs.ravel(), np.asarray(ours(real[None])).ravel())[0, 1]
        assert correlation > 0.98, name

    with pytest.raises(ModelRefused, match=r"width 0\.5"):
        narrow = replace(wanted, alpha=0.5)
        load_encoder(segmenter(narrow, channels=3, classes=2, side_px=64, norm=False), narrow)


def test_files_that_hold_no_encoder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"TFL3 but not really")
    with pytest.raises(ModelRefused, match=r"broken\.tflite is not a TFLite model"):
        tflite_convolutions(path)
