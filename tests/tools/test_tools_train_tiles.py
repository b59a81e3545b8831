"""Training on the kept features of a frozen encoder: windows of tiles, and what goes with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.bundle.inspector import Inspector
from edgeinspect.bundle.quantization import PixelPath, pixel_path, pixel_table
from edgeinspect.errors import UsageError
from edgeinspect.line.scores import Quantization
from edgeinspect.part import Frame
from edgeinspect_tools.data.build import build_dataset
from edgeinspect_tools.data.dataset import GOOD, Dataset, Item, Split
from edgeinspect_tools.data.dataset_formats import read_source
from edgeinspect_tools.data.manifest import load_manifest
from edgeinspect_tools.train import Network, TrainSettings, checkpoint, cross_validation
from edgeinspect_tools.train.augment import orientations, oriented, turned
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.maps import MEAN, STD
from edgeinspect_tools.train.samples import UNKNOWN, Pictures, Sample
from edgeinspect_tools.train.tile_source import Features, TileSource
from edgeinspect_tools.train.train_command import command, settings_of
from edgeinspect_tools.train.training_run import samples_of
from edgeinspect_tools.train.training_settings import FROZEN_ENCODER
from edgeinspect_tools.train.weights import Convolution, with_contrast

DEEP = TrainSettings(
    network=Network.MOBILENET_V2,
    weights="encoder.tflite",
    encoder_stride_px=32,
    freeze_stride_px=32,
    gray=True,
    tile_px=128,
    tile_overlap_px=32,
    crop_px=64,
    coverage_gain=1.0,
    batch=6,
)
BRIGHT = (240 - MEAN) / STD


def pooled(tiles: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Instead of an encoder: the highest value of each cell at strides 4 and 32."""
    n, height, width, _ = tiles.shape
    return [
        tiles.reshape(n, height // s, s, width // s, s).max(axis=(2, 4))[..., None] for s in (4, 32)
    ]


def pictures(folder: Path, *, located: bool = True) -> Pictures:
    """A wide picture and a narrow one with a bright defect each, and a good one."""
    folder.mkdir(exist_ok=True)
    samples = []
    for name, (height, width), index in (
        ("wide", (150, 300), 0),
        ("narrow", (140, 40), 1),
        ("good", (130, 130), None),
    ):
        rng = np.random.default_rng(len(name))
        pixels = rng.integers(40, 60, (height, width), dtype=np.uint8)
        mask = np.zeros_like(pixels)
        if index is not None:
            mask[100:108, width - 16 : width - 8] = 255
            pixels[mask > 0] = 240
        path, marked = folder / f"{name}.png", folder / f"{name}_mask.png"
        for file, shown in ((path, pixels), (marked, mask)):
            file.write_bytes(cv2.imencode(".png", shown)[1].tobytes())
        known = marked if index is not None and located else None
        samples.append(Sample(path=path, index=index, mask=known))
    return Pictures(samples, gray=True, reference=False)


def source_of(read: Pictures, settings: TrainSettings = DEEP, **given: Any) -> TileSource:
    features = given.pop("features", Features())
    return TileSource(
        read, classes=2, settings=settings, encode=given.pop("encode", pooled), features=features
    )


@pytest.mark.parametrize("grain", [False, True])
def test_features_lie_where_their_labels_lie(tmp_path: Path, grain: bool) -> None:
    source = source_of(pictures(tmp_path), replace(DEEP, grain=grain))
    shown = np.zeros(2)
    for number in range(25):
        (fine, deep), (targets, weights, bags) = source.batch(number)
        assert fine.shape == (6, 16, 16, 1)
        assert deep.shape == (6, 2, 2, 1)
        assert targets.shape == (6, 16, 16, 2)
        counted = weights[..., 0] > 0
        bright = fine[..., 0] > 0.9 * BRIGHT
        assert np.array_equal((targets.max(axis=3) > 0) & counted, bright & counted)
        shown += targets.max(axis=(1, 2)).round().sum(axis=0)
        assert np.array_equal(bags[:, :2] > 0, (targets * weights).sum((1, 2)) >= 1)
    assert (shown > 10).all()


def test_nothing_is_learned_beyond_a_pictures_edge(tmp_path: Path) -> None:
    read = pictures(tmp_path)
    narrow = Pictures(read.samples[1:2], gray=True, reference=False)
    source = source_of(narrow, replace(DEEP, turns=False))
    for number in range(4):
        _, (_, weights, _) = source.batch(number)
        assert (weights[:, :, :10] == 1).any(axis=(1, 2)).all()
        assert (weights[:, :, 10:] == 0).all()


def test_a_batch_repeats_whatever_is_kept(tmp_path: Path) -> None:
    read = pictures(tmp_path)
    roomy, none = source_of(read), source_of(read, features=Features(max_bytes=0))
    roomy.batch(1)
    for one, other in zip(
        [*roomy.batch(3)[0], *roomy.batch(3)[1]],
        [*none.batch(3)[0], *none.batch(3)[1]],
        strict=True,
    ):
        assert np.array_equal(one, other)


def test_a_tile_is_encoded_once_while_there_is_room(tmp_path: Path) -> None:
    seen: list[int] = []

    def encode(tiles: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        seen.append(len(tiles))
        return pooled(tiles)

    read = pictures(tmp_path)
    features = Features()
    for number in range(20):
        source_of(read, replace(DEEP, grain=True), encode=encode, features=features).batch(number)
    # 8 tiles of the wide picture, 2 of the narrow and 4 of the good one, in 4 ways at most.
    assert len(seen) <= 4 * 14
    before = len(seen)
    tight = source_of(read, encode=encode, features=Features(max_bytes=0))
    tight.batch(0)
    tight.batch(0)
    assert len(seen) == before + 2 * DEEP.batch


def test_of_a_picture_with_a_label_only_the_cells_do_not_count(tmp_path: Path) -> None:
    source = source_of(pictures(tmp_path, located=False), replace(DEEP, good_share=0.0))
    _, (targets, weights, bags) = source.batch(0)
    assert not weights.any()
    assert (bags[:, -1] == 1).all()
    assert (bags[:, :2].sum(axis=1) == 1).all()
    assert not targets.any()
    assert int(UNKNOWN) == 255


@given(seed=st.integers(0, 2**32 - 1))
def test_grain_stays_upright(seed: int) -> None:
    stripes = np.zeros((8, 8), np.uint8)
    stripes[:, ::2] = 9
    lying, marks = turned(stripes, stripes, np.random.default_rng(seed), grain=True)
    assert (lying == lying[0]).all()
    assert np.array_equal(lying, marks)


def test_every_way_to_lie_is_another_one() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    every = [
        oriented(picture, way).tobytes() + bytes(oriented(picture, way).shape) for way in range(8)
    ]
    assert len(set(every)) == 8
    assert orientations(turns=False, grain=False) == (0,)
    assert len(orientations(turns=True, grain=False)) == 8
    upright = orientations(turns=True, grain=True)
    assert [oriented(picture, way).shape for way in upright] == [(3, 4)] * 4


def test_contrast_is_folded_into_the_first_convolution() -> None:
    rng = np.random.default_rng(4)
    first = Convolution(
        rng.normal(size=(3, 3, 3, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    )
    folded = with_contrast(first, replace(DEEP, contrast=2.0, brightness=110.0))
    pixels = rng.integers(0, 256, (3, 3, 3)).astype(np.float64)
    given_to_it = (pixels - MEAN) / STD
    wanted_seen = 2.0 * (pixels - 110.0) / 127.5
    found = np.tensordot(given_to_it, folded.kernel, 3) + folded.bias
    assert np.allclose(found, np.tensordot(wanted_seen, first.kernel, 3) + first.bias, atol=1e-4)
    same = with_contrast(first, replace(DEEP, brightness=MEAN))
    assert np.array_equal(same.kernel, first.kernel)
    assert np.array_equal(same.bias, first.bias)


def test_every_grey_level_is_an_int8_step_of_its_own() -> None:
    ends = (0 - MEAN) / STD, (255 - MEAN) / STD
    scale = (ends[1] - ends[0]) / 255
    zero_point = round(-128 - ends[0] / scale)
    found = pixel_table(
        mean=(MEAN,),
        std=(STD,),
        quantization=Quantization(dtype="int8", scale=scale, zero_point=zero_point),
    )
    assert pixel_path(found) is PixelPath.FLIP_SIGN_BIT


def test_a_checkpoint_from_before_a_setting_existed_is_resumed(tmp_path: Path) -> None:
    now = TrainSettings().as_dict()
    before = {key: value for key, value in now.items() if key not in ("grain", "contrast")}
    checkpoint.save(tmp_path, Progress(step=7), identity={"settings": before})
    assert checkpoint.load(tmp_path, identity={"settings": now}).step == 7
    other = {**now, "grain": True}
    with pytest.raises(UsageError, match="a run with other settings"):
        checkpoint.load(tmp_path, identity={"settings": other})


def options(**changes: Any) -> dict[str, Any]:
    """The command's options at their defaults."""
    found = {param.name: param.default for param in command.params if param.name is not None}
    for name in ("dataset", "out", "resume", "good", "group_pattern", "as_json"):
        found.pop(name, None)
    return {**found, **changes}


def test_a_frozen_encoder_brings_what_goes_with_it_and_leaves_what_was_asked_for() -> None:
    chosen = settings_of(
        options(weights="w.tflite", encoder="frozen", tile_px=256), given=("weights", "tile_px")
    )
    assert chosen.frozen_encoder
    assert chosen.tile_px == 256
    assert chosen.good_share == FROZEN_ENCODER["good_share"]
    assert chosen.network is Network.MOBILENET_V2
    usual = settings_of(options(weights="w.tflite", network="mobilenet_v2"))
    assert (usual.freeze_stride_px, usual.encoder_stride_px, usual.tile_px) == (8, 16, 256)
    assert not usual.frozen_encoder
    assert settings_of(options()).freeze_stride_px == 0


def dataset(folder: Path) -> Dataset:
    read = pictures(folder)
    items = [
        Item(
            path=sample.path,
            label=GOOD if sample.index is None else f"class {sample.index}",
            width=1,
            height=1,
            sha256=str(number),
            group=str(number),
            split=Split.TRAIN,
            mask=sample.mask,
        )
        for number, sample in enumerate(read.samples)
    ]
    return Dataset(kind="folders", root=folder, seed=0, items=tuple(items))


def test_a_finished_fold_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trained(Exception):
        pass

    def training(*_: object, **__: object) -> None:
        raise Trained

    monkeypatch.setattr(cross_validation, "train", training)
    data, file = dataset(tmp_path / "data"), tmp_path / "fold_0.json"

    def run(settings: TrainSettings = DEEP, data: Dataset = data) -> dict[str, Any]:
        return cross_validation.run_fold(data, 0, settings, tmp_path, say=None)

    with pytest.raises(Trained):
        run()
    before = {"identity": cross_validation.identity_of(data, DEEP), "miou": 0.5}
    file.write_text(json.dumps(before))  # of a version that did not hold it against float
    with pytest.raises(Trained):
        run()
    finished = {**before, "int8_against_float": {}}
    file.write_text(json.dumps(finished))
    assert run() == finished
    with pytest.raises(Trained):
        run(replace(DEEP, seed=5))
    with pytest.raises(Trained):
        run(data=replace(data, items=data.items[1:]))
    file.write_text('{"fold": 0, "confusion": [[')
    with pytest.raises(Trained):
        run()


def test_training_by_the_command_leaves_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeinspect_tools.train import training_run as running

    for label in ("good", "scratch"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for part in range(6):
            for view in range(2):
                noise = np.random.default_rng([part, label == "good"]).integers(0, 255, (64, 64))
                file = tmp_path / "data" / label / f"part{part}_{view}.png"
                noise[view] = 0
                file.write_bytes(cv2.imencode(".png", noise.astype(np.uint8))[1].tobytes())

    def stopped(*_: object, **__: object) -> None:
        raise UsageError("that will do")

    monkeypatch.setattr(running, "train", stopped)
    arguments = [str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    pattern = ["--group-pattern", r"(\w+)/part(\d+)_", "--good", "good"]
    found = CliRunner().invoke(command, [*arguments, *pattern])
    assert isinstance(found.exception, UsageError)
    manifest = load_manifest(tmp_path / "run" / "manifest.json")
    assert len({item.group for item in manifest.items}) == 12


def test_pixels_count_from_the_score_on_that_is_best_on_validation(tmp_path: Path) -> None:
    items = tuple(replace(item, split=Split.VALIDATION) for item in dataset(tmp_path).items)
    data = replace(dataset(tmp_path), items=items)
    read = Pictures(samples_of(data, Split.VALIDATION), gray=True, reference=False)

    class Timid:
        """Defects score 0.35, what is sound 0.25."""

        def __init__(self) -> None:
            self.seen = 0

        def inspect(self, frame: Frame, *, want_map: bool) -> SimpleNamespace:
            assert want_map
            labels = read[self.seen].labels
            assert frame.pixels.shape == labels.shape
            self.seen += 1
            planes = [np.where(labels == kind, 0.35, 0.25) for kind in (1, 2)]
            return SimpleNamespace(
                score_map=SimpleNamespace(scores=np.stack(planes, axis=-1).astype(np.float32))
            )

    timid = Timid()
    cells_of_one_pixel = cast(TrainSettings, SimpleNamespace(gray=True, stride_px=1))
    inspector = cast(Inspector, timid)
    assert cross_validation.best_pixel_score(inspector, data, cells_of_one_pixel) == 0.3
    assert timid.seen == len(read) == 3


def test_an_interrupted_fold_goes_on_only_as_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trained(Exception):
        pass

    asked: list[bool] = []

    def training(*_: object, resume: bool, **__: object) -> None:
        asked.append(resume)
        raise Trained

    monkeypatch.setattr(cross_validation, "train", training)
    data = dataset(tmp_path / "data")
    checkpoints = tmp_path / "fold_0" / "checkpoint"

    def run(settings: TrainSettings) -> None:
        with pytest.raises(Trained):
            cross_validation.run_fold(data, 0, settings, tmp_path, say=None)

    run(DEEP)
    checkpoint.save(checkpoints, Progress(step=3), identity={})
    run(DEEP)
    run(replace(DEEP, steps=77))
    assert asked == [False, True, False]
    assert not checkpoints.exists()


def test_only_near_duplicates_stay_together_where_that_is_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = ["path,label,group"]
    for number in range(16):
        pixels = cv2.resize(rng.integers(0, 256, (6, 6), np.uint8), (96, 96))
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
        rows.append(f"{number}.png,{'good' if number < 8 else 'crack'},part {number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    source = read_source(tmp_path / "labels.csv")
    assert build_dataset(source).findings.groups == 8
    assert build_dataset(cross_validation.without_groups(source)).findings.groups == 16
