"""A folder made by the simulator to a bundle that the station takes, in one command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application as station
from edgeinspect.errors import DiskFull
from edgeinspect_tools.all_in_one import chain
from edgeinspect_tools.all_in_one.plans import BASELINE, Look, Wishes, candidates, look_at
from edgeinspect_tools.cli import application as tools
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import GOOD, Dataset, Item, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.quantize.int8_candidates import Int8Method, Quantized
from edgeinspect_tools.train import Network, TrainedRun, TrainSettings
from edgeinspect_tools.train.checkpoint import CHECKPOINT_FILE
from tests.helpers.chain_samples import gap_that, spot_model
from tests.helpers.sim_folder import write_sim_folder


def run_tools(*arguments: str) -> int:
    return run_command_line(tools, program="edgeinspect-tools", arguments=arguments)


def run_station(*arguments: str) -> int:
    return run_command_line(station, program="edgeinspect", arguments=arguments)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sim_folder(tmp_path_factory.mktemp("sim") / "pictures")


def make(
    pictures: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, object]:
    """Run ``all``, then the station's check and replay; returns what ``all`` printed."""
    any_figures = ("--max-false-rejects", "1", "--max-escapes", "1")
    assert run_tools("all", str(pictures), "--out", str(out), "--json", *any_figures, *options) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert run_station("check", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["good"] is True
    assert run_station("replay", str(pictures), "--bundle", str(out), "--json") == 0
    replayed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert replayed["pictures"] == 120
    assert replayed["verdicts"]["CANNOT_INSPECT"] == 0
    return found


@pytest.mark.filterwarnings("default")  # TensorFlow's own
def test_one_command_makes_a_bundle_that_the_station_runs(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hardly trained; what it is worth is the slow test's matter."""
    out = tmp_path / "bundle"
    found = make(pictures, out, capsys, "--network", "tiny", "--steps", "20", "--accept-gap")
    assert found["bundle"] == str(out)
    assert found["replay_identical"] is True
    assert found["n_good"] == 9
    assert found["n_defective"] == 10
    assert {entry.name for entry in tmp_path.iterdir()} == {"bundle", "bundle.run"}
    assert {"card.yaml", "card.html", "split.json", "model.float.tflite"} <= {
        entry.name for entry in out.iterdir()
    }
    assert run_tools("all", str(pictures), "--out", str(out)) == 5
    assert "already exists" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_without_any_option_published_weights_tell_large_defects(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    found = make(pictures, out, capsys, "--steps", "120")
    assert found["within_bound"] is True
    assert float(str(found["auroc_int8"])) >= 0.95
    card = load_bundle(out).card
    assert card.attribution == "Encoder: efficientnet_lite0 with its ImageNet weights (Apache-2.0)"
    assert set(card.provenance["training"]["chosen_among"]) == {BASELINE, "frozen encoder"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_good_pictures_alone_are_enough_for_large_defects(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    found = make(pictures, out, capsys, "--good-only", "--steps", "120")
    assert (found["n_defective"], found["n_drawn"]) == (60, 0)
    assert float(str(found["auroc_int8"])) >= 0.9
    card = load_bundle(out).card
    assert card.defect_classes == ("anomaly",)
    assert card.provenance["data"]["drawn_defects"] > 40


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_a_short_training_is_enough_for_large_defects(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted in steps, so that a busy machine makes the same model, only later."""
    found = make(pictures, tmp_path / "bundle", capsys, "--network", "tiny", "--steps", "400")
    assert found["within_bound"] is True
    assert float(str(found["auroc_int8"])) >= 0.95
    assert found["escapes"] == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_a_keras_file_gives_first_weights_and_their_width(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    keras.utils.set_random_seed(4)
    weights = tmp_path / "encoder.keras"
    encoder = keras.applications.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights=None
    )
    for layer in encoder.layers:  # random weights, but values that do not vanish with depth
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for seed in range(12):
        encoder(np.random.default_rng(seed).normal(size=(8, 96, 96, 3)), training=True)
    encoder.save(weights)
    out = tmp_path / "bundle"
    options = ("--weights", str(weights), "--steps", "20", "--accept-gap")
    found = make(pictures, out, capsys, *options)
    assert found["replay_identical"] is True
    described = json.loads((tmp_path / "bundle.run" / "plain-baseline" / "run.json").read_text())
    assert described["settings"]["network"] == "mobilenet_v2"
    assert described["settings"]["alpha"] == 0.35


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_a_published_int8_file_gives_first_weights(
    pictures: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frozen features tell large defects after a few steps."""
    weights = shared / "models" / "coral" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    options = ("--weights", str(weights), "--steps", "120")
    found = make(pictures, tmp_path / "bundle", capsys, *options)
    assert found["within_bound"] is True
    assert float(str(found["auroc_int8"])) >= 0.95


def test_a_file_that_is_no_mobilenet_is_refused_and_leaves_no_bundle(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(spot_model())
    out = tmp_path / "bundle"
    assert run_tools("all", str(pictures), "--out", str(out), "--weights", str(other)) == 5
    assert "1 convolutions found" in capsys.readouterr().err
    missing = str(tmp_path / "missing.tflite")
    assert run_tools("all", str(pictures), "--out", str(out), "--weights", missing) == 2
    assert "expected none, imagenet, or a .keras or .tflite file" in capsys.readouterr().err
    assert not out.exists()


def test_settings_follow_pictures_and_time(pictures: Path) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset
    plain = Wishes(weights="none", minutes=2)
    (short,) = candidates(dataset, plain).values()
    assert (short.network, short.gray, short.tile_px, short.crop_px) == (Network.TINY, True, 96, 96)
    assert short.minutes == pytest.approx(1.2)
    (counted,) = candidates(dataset, replace(plain, steps=400)).values()
    assert (counted.steps, counted.check_every) == (400, 50)
    assert counted.minutes > 1000
    (long,) = candidates(dataset, replace(plain, minutes=60)).values()
    assert long.network is Network.SMALL


def test_published_weights_are_taken_unless_a_reference_replaces_them(pictures: Path) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset
    usual = candidates(dataset, Wishes())
    assert next(iter(usual)) == BASELINE
    assert {found.network for found in usual.values()} == {Network.EFFICIENTNET_LITE0}
    assert {found.weights for found in usual.values()} == {"imagenet"}
    (small,) = candidates(dataset, Wishes(network=Network.SMALL)).values()
    assert (small.network, small.weights) == (Network.SMALL, "none")
    compared = replace(dataset, items=tuple(replace(i, reference=i.path) for i in dataset.items))
    (found,) = candidates(compared, Wishes()).values()
    assert (found.network, found.weights, found.reference) == (Network.SMALL, "none", True)


def test_whole_pictures_keep_their_shape_and_are_never_enlarged(pictures: Path) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset

    def shape(height_px: int, width_px: int) -> tuple[int, int]:
        items = (replace(item, height=height_px, width=width_px) for item in dataset.items)
        found = candidates(replace(dataset, items=tuple(items)), Wishes(minutes=2))
        return found[BASELINE].resize_shape

    assert shape(96, 96) == (96, 96)
    assert shape(500, 1250) == (256, 640)
    assert shape(1250, 500) == (640, 256)
    assert shape(500, 5000) == (96, 1024)
    assert shape(20, 30) == (32, 32)


def test_where_only_labels_are_known_a_map_is_compared_with_a_classifier(pictures: Path) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset
    found = candidates(dataset, Wishes(minutes=60))
    assert list(found) == [BASELINE, "frozen encoder", "classifier"]
    whole = found["classifier"]
    assert found["frozen encoder"].frozen_encoder
    assert (whole.method, whole.network) == ("classification", Network.EFFICIENTNET_LITE0)
    assert (whole.gray, whole.resize_shape) == (True, (96, 96))
    assert found[BASELINE].resize_shape == (96, 96)
    assert whole.contrast == look_at(dataset.of(Split.TRAIN)).contrast > 1
    assert whole.minutes == found["frozen encoder"].minutes == pytest.approx(18)
    large = enlarged(dataset, 10)
    assert candidates(large, Wishes(minutes=60))["classifier"].resize_shape == (256, 256)
    assert list(candidates(large, Wishes(minutes=10))) == [BASELINE, "frozen encoder"]


def test_loaded_weights_stay_under_a_decoder_where_masks_are_known(pictures: Path) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset
    located = replace(dataset, items=tuple(replace(item, mask=item.path) for item in dataset.items))
    found = candidates(enlarged(located, 3), Wishes(minutes=60))
    assert list(found) == [BASELINE, "frozen encoder", "tuned encoder"]
    assert found["frozen encoder"].frozen_encoder
    assert (found["frozen encoder"].tile_px, found["frozen encoder"].crop_px) == (288, 192)
    assert found["tuned encoder"].freeze_stride_px == 8
    assert not found["tuned encoder"].frozen_encoder
    alone = candidates(located, Wishes(steps=50))["frozen encoder"]
    assert (alone.tile_px, alone.crop_px, alone.steps) == (96, 96, 50)


def enlarged(dataset: Dataset, times: int) -> Dataset:
    """The same pictures, said to be larger."""
    items = (
        replace(item, width=item.width * times, height=item.height * times)
        for item in dataset.items
    )
    return replace(dataset, items=tuple(items))


def test_what_pictures_look_like_is_seen(tmp_path: Path) -> None:
    def seen(name: str, pixels: NDArray[np.uint8]) -> Look:
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), pixels)
        height, width = pixels.shape[:2]
        item = Item(
            path=path, label=GOOD, width=width, height=height, sha256="", group="g",
            split=Split.TRAIN,
        )  # fmt: skip
        return look_at([item])

    rng = np.random.default_rng(4)
    noise = rng.integers(90, 120, (64, 80), np.uint8)
    plain = seen("plain", noise)
    assert (plain.short_px, plain.long_px, plain.gray, plain.grain) == (64, 80, True, False)
    assert plain.brightness == pytest.approx(noise.mean())
    assert plain.contrast == 3.0
    columns = np.tile(rng.integers(0, 256, (1, 80), np.uint8), (64, 1))
    ground = seen("ground", columns)
    assert ground.grain
    assert ground.contrast == 1.0
    assert seen("ground_across", np.ascontiguousarray(columns.T)).grain
    coloured = np.dstack([noise, noise, noise + 20])
    assert not seen("coloured", coloured).gray


def test_several_are_trained_each_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    dataset = build_dataset(read_source(pictures), seed=1).dataset
    resumed = []

    def trained(_: Dataset, settings: TrainSettings, folder: Path, **options: Any) -> TrainedRun:
        resumed.append(options["resume"])
        return TrainedRun(folder=folder, model=folder / "model", description={})

    monkeypatch.setattr(chain, "train", trained)
    (tmp_path / "c" / "checkpoint").mkdir(parents=True)
    (tmp_path / "c" / "checkpoint" / CHECKPOINT_FILE).write_bytes(b"")
    choices = {"a b": TrainSettings(seed=1), "c": TrainSettings(seed=2)}
    said: list[str] = []
    runs = chain.train_each(choices, dataset, tmp_path, Wishes(resume=True), say=said.append)
    assert {name: run.folder.name for name, run in runs.items()} == {"a b": "a-b", "c": "c"}
    assert resumed == [False, True]
    assert said == ["training a a b", "training a c"]


def candidate(*, auroc_int8: float, outside: int = 0) -> chain.Candidate:
    gap = gap_that(auroc_int8=auroc_int8, flips_outside=outside)
    quantized = Quantized(model=b"", method=Int8Method.TRUE, gap=gap, tried={}, layers=[])
    described = {"int8": auroc_int8}
    return chain.Candidate(description=described, float_model=b"", quantized=quantized)


def test_the_int8_model_that_validates_best_is_taken() -> None:
    said: list[str] = []
    made = {"a": candidate(auroc_int8=0.8), "b": candidate(auroc_int8=0.9)}
    found = chain.best_of(made, say=said.append)
    assert found.description == {"int8": 0.9, "chosen_among": {"a": 0.8, "b": 0.9}}
    assert said == ["AUROC of int8 on validation pictures: a 0.8000, b 0.9000; the b is taken"]


def test_one_that_keeps_its_bound_comes_before_a_better_one_that_strays() -> None:
    said: list[str] = []
    made = {"a": candidate(auroc_int8=0.8), "b": candidate(auroc_int8=0.9, outside=3)}
    assert chain.best_of(made, say=said.append).description["int8"] == 0.8
    assert "b 0.9000, which strays from its float model; the a is taken" in said[0]
    only = candidate(auroc_int8=0.7, outside=3)
    assert chain.best_of({"a": only}, say=said.append) is only
    assert len(said) == 1


def test_a_training_that_fails_leaves_no_bundle(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull("checkpoint.npz could not be written (No space left on device).")

    monkeypatch.setattr(chain, "train", full)
    out = tmp_path / "out"
    assert run_tools("all", str(pictures), "--out", str(out)) == 6
    assert "No space left on device" in capsys.readouterr().err
    assert not out.exists()
    assert [entry.name for entry in (tmp_path / "out.run").iterdir()] == ["manifest.json"]


def test_bad_data_sets_end_with_one_sentence_and_nothing_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    one_class = tmp_path / "one"
    two = tmp_path / "two"
    twice = tmp_path / "twice"
    for kind in ("good", "scratch"):
        (broken / kind).mkdir(parents=True)
        (broken / kind / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
        (two / kind).mkdir(parents=True)
        shutil.copy(pictures / kind / f"{kind}_000.png", two / kind)
        shutil.copytree(pictures / "scratch", twice / kind)
    (one_class / "good").mkdir(parents=True)
    shutil.copy(pictures / "good" / "good_000.png", one_class / "good")
    labels = tmp_path / "labels.xyz"
    labels.write_text("?")
    for source, said in (
        (broken, "no usable picture"),
        (one_class, "too small to split"),
        (two, "too small to split"),
        (twice, "no usable picture"),
        (labels, "no known label format"),
        (tmp_path / "missing", "does not exist"),
    ):
        out = tmp_path / "out"
        assert run_tools("all", str(source), "--out", str(out)) in {1, 2, 3}
        captured = capsys.readouterr()
        assert said in captured.err, source
        assert "Traceback" not in captured.err
        assert not out.exists()
        assert not out.with_name("out.run").exists()
