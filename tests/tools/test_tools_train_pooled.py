"""The second opinion on a tile as a whole: its logit, in the network, and on the station."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.errors import UsageError
from edgeinspect_tools.data.dataset import Split
from edgeinspect_tools.edgetpu.check import check_model
from edgeinspect_tools.flatbuffer import parse_tflite
from edgeinspect_tools.quantize.int8 import narrowed_to_output
from edgeinspect_tools.train import Network, TrainSettings, cross_validation
from edgeinspect_tools.train.head import Logit, fit_logit
from edgeinspect_tools.train.maps import real_input
from edgeinspect_tools.train.outcome import TrainedRun
from edgeinspect_tools.train.pooled_head import (
    FOLDS,
    WholeTile,
    fit_pooled_head,
    grouped_folds,
    pooled,
)
from edgeinspect_tools.train.samples import Pictures, Sample
from edgeinspect_tools.train.tile_source import Features, TileSource
from edgeinspect_tools.train.train_command import command, settings_of
from edgeinspect_tools.train.training_run import lasting, samples_of
from edgeinspect_tools.train.training_settings import FROZEN_ENCODER
from edgeinspect_tools.verify.measure import verify_bundle
from tests.helpers.chain_samples import read_dataset, write_pictures, write_run

SIDE = 64
SMALL = TrainSettings(
    **{
        **FROZEN_ENCODER,
        "alpha": 0.35,
        "tile_px": SIDE,
        "tile_overlap_px": 16,
        "crop_px": SIDE,
        "weights": "encoder.tflite",
        "gray": True,
        "pooled_head": 1.0,
    }
)


def rows(seed: int, *, told_apart: float, count: int = 120) -> tuple[Any, Any, Any]:
    """Noise of which the first column tells defective rows, their labels, and four folds."""
    rng = np.random.default_rng(seed)
    defective = np.arange(count) % 3 == 0
    features = rng.normal(size=(count, 40)).astype(np.float32)
    features[:, 0] += told_apart * defective
    return features, defective, np.arange(count) // 3 % FOLDS


@pytest.mark.parametrize("times", [1e-3, 64.0])
def test_a_features_unit_does_not_matter(times: float) -> None:
    features, defective, folds = rows(1, told_apart=3.0)
    units = np.where(np.arange(features.shape[1]) % 2 == 0, times, 1.0).astype(np.float32)
    plain = fit_logit(features, defective, folds)
    other = fit_logit(features * units + units, defective, folds)
    assert plain is not None
    assert other is not None
    assert plain.auroc > 0.9
    assert other.auroc == pytest.approx(plain.auroc, abs=1e-3)
    assert other.strength == plain.strength
    ours = features @ plain.weights + plain.bias
    theirs = (features * units + units) @ other.weights + other.bias
    assert np.abs(ours).max() > 1
    assert np.allclose(ours, theirs, atol=0.02)


def test_log_odds_are_those_of_rows_that_were_held_out() -> None:
    """Forty columns for ninety rows: what was learned by heart must not sound sure elsewhere."""
    features, defective, folds = rows(2, told_apart=1.5)
    found = fit_logit(features, defective, folds)
    assert found is not None
    new, truth, _ = rows(3, told_apart=1.5, count=3000)
    logits = new @ found.weights + found.bias
    loss = np.logaddexp(0, np.where(truth, -logits, logits))
    balanced = (loss[truth].mean() + loss[~truth].mean()) / 2
    assert balanced < 0.95 * np.log(2)
    louder = np.logaddexp(0, np.where(truth, -3 * logits, 3 * logits))
    assert (louder[truth].mean() + louder[~truth].mean()) / 2 > balanced


def test_what_ranks_no_better_than_chance_says_nothing() -> None:
    features, defective, folds = rows(4, told_apart=0.0)
    # What two folds say, two others deny: any three are wrong about the fourth.
    features[:] = np.where(defective == (folds % 2 == 0), 1.0, -1.0)[:, None]
    assert fit_logit(features, defective, folds) is None


def test_too_few_groups_of_a_kind_say_nothing() -> None:
    features, defective, folds = rows(5, told_apart=5.0)
    assert fit_logit(features, folds == 1, folds) is None
    assert fit_logit(features, defective, np.zeros_like(folds)) is None
    assert fit_logit(features, defective, folds) is not None


@given(
    groups=st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=80),
    seed=st.integers(0, 99),
)
def test_groups_are_shared_out_whole_and_evenly(groups: list[tuple[int, bool]], seed: int) -> None:
    names = [f"group {number}" for number, _ in groups]
    defective = np.array([bad for _, bad in groups])
    folds = grouped_folds(names, defective, seed=seed)
    by_name = dict(zip(names, folds, strict=True))
    assert [by_name[name] for name in names] == folds.tolist()
    with_defects = {name for name, bad in zip(names, defective, strict=True) if bad}
    for some in (with_defects, set(names)):
        counts = np.bincount([by_name[name] for name in some], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_pooling_is_mean_maximum_and_what_lies_above_the_mean() -> None:
    level = np.array([[[0.0, 5.0], [4.0, 5.0]], [[1.0, 5.0], [3.0, 5.0]]], np.float16)
    deep = np.array([[[-2.0]]], np.float16)
    assert pooled([level, deep]).tolist() == [2, 5, 4, 5, 0.75, 0, -2, -2, 0]


def test_the_head_is_fitted_to_tiles_that_clearly_are_one_or_the_other() -> None:
    rng = np.random.default_rng(7)

    def tile(number: int) -> WholeTile:
        """Of three, one is sound, one defective and bright, one holds a defect's last bit."""
        share = (0.0, 1.0, 0.1)[number % 3]
        level = rng.normal((0, 2, -50)[number % 3], 1, (4, 4, 3))
        return WholeTile([level.astype(np.float32)], share, f"part {number // 3 % 10}")

    found = fit_pooled_head((tile(number) for number in range(120)), seed=1)
    assert found is not None
    assert found.auroc > 0.95
    assert found.weights[:3].sum() > 0


def test_every_tile_of_a_picture_comes_with_its_share_of_the_defect(tmp_path: Path) -> None:
    import cv2

    wide = np.zeros((SIDE, 112), np.uint8)
    mask = np.zeros_like(wide)
    mask[10:20, 2:6] = 255  # in the first tile
    mask[30:40, 50:62] = 255  # in both
    samples = []
    for name, marks in (("bad", mask), ("good", None)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), wide)
        if marks is not None:
            cv2.imwrite(str(tmp_path / "mask.png"), marks)
        known = None if marks is None else tmp_path / "mask.png"
        index = None if marks is None else 0
        samples.append(Sample(path=tmp_path / f"{name}.png", index=index, mask=known, group=name))

    def encode(tiles: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return [tiles[:, ::4, ::4], tiles[:, ::32, ::32]]

    source = TileSource(
        Pictures(samples, gray=True, reference=False),
        classes=1,
        settings=SMALL,
        encode=encode,
        features=Features(),
    )
    found = list(source.whole_tiles(100))
    assert [tile.group for tile in found] == ["bad"] * 2 + ["good"] * 2
    assert [tile.defect_share for tile in found] == pytest.approx([1.0, 120 / 160, 0.0, 0.0])
    assert [level.shape for level in found[0].levels] == [(16, 16, 1), (2, 2, 1)]
    few = [(tile.group, tile.defect_share) for tile in source.whole_tiles(3)]
    assert few == [("bad", 1.0), ("good", 0.0), ("good", 0.0)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pooled_head": -0.5}, "pooled_head is -0.5; expected a number from 0.0 to 2.0"),
        ({"pooled_head": float("nan")}, "pooled_head is nan; expected a number"),
        ({"freeze_stride_px": 16}, "pooled_head is 1.0; expected 0 without a frozen encoder"),
        ({"network": Network.SMALL}, "pooled_head is 1.0; expected 0 without a frozen encoder"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        replace(SMALL, **changes)


def test_it_is_asked_for_by_its_option() -> None:
    defaults = {param.name: param.default for param in command.params if param.name is not None}
    for name in ("dataset", "out", "resume", "good", "group_pattern", "as_json"):
        defaults.pop(name, None)
    frozen = {**defaults, "weights": "w.tflite", "encoder": "frozen"}
    assert settings_of(frozen).pooled_head == 1
    chosen = {"pooled_head"}
    assert settings_of({**frozen, "pooled_head": 0.25}, given=chosen).pooled_head == 0.25
    partly = {**frozen, "freeze_stride_px": 8}
    assert settings_of(partly, given={"freeze_stride_px"}).pooled_head == 0
    with pytest.raises(UsageError, match="0 without a frozen encoder"):
        settings_of({**defaults, "pooled_head": 0.5}, given=chosen)
    recipe = cross_validation.magnetic_tile_recipe
    budget: dict[str, Any] = {"steps": 1, "minutes": 1, "seed": 1}
    assert recipe("w.tflite", **budget).pooled_head == 1
    assert recipe("w.tflite", pooled_head=0.0, **budget).pooled_head == 0
    assert recipe("none", **budget).pooled_head == 0


def test_a_run_may_be_resumed_with_another_weight_of_it() -> None:
    assert lasting(SMALL) == lasting(replace(SMALL, pooled_head=0.0))
    assert lasting(SMALL) != lasting(replace(SMALL, seed=9))


def lively(model: Any) -> None:
    """Random kernels whose values do not vanish with depth: He et al. 2015."""
    rng = np.random.default_rng(8)
    for layer in model.layers:
        kernel, *rest = layer.get_weights() or [np.zeros(0)]
        if kernel.ndim != 4:
            continue
        depthwise = layer.name.endswith("_depthwise")
        inputs = np.prod(kernel.shape[:2] if depthwise else kernel.shape[:3])
        layer.set_weights([rng.normal(0, np.sqrt(2 / inputs), kernel.shape), *rest])


class Exported:
    """A network of random weights, as it is and with a head of random weights."""

    def __init__(self) -> None:
        import keras

        from edgeinspect_tools.train.methods.segmentation import export, frozen_features
        from edgeinspect_tools.train.networks import segmenter, split_at_frozen

        keras.utils.set_random_seed(3)
        self.plain = replace(SMALL, pooled_head=0.0)
        self.model = segmenter(self.plain, channels=1, classes=2, side_px=None, norm=False)
        lively(self.model)
        parts = split_at_frozen(self.model, SMALL)
        assert parts is not None
        self.encode = frozen_features(parts[0], SIDE)
        rng = np.random.default_rng(3)
        self.tiles = rng.uniform(-1, 1, (2, SIDE, SIDE, 1)).astype(np.float32)
        self.tiles[1] /= 4
        first, second = (
            pooled([level[0] for level in self.encode(tile[None])]) for tile in self.tiles
        )
        # The first tile looks sound by log odds of 3, the second defective by as much, and of all
        # weights that say so these are the smallest: what int8 rounds off does not matter more.
        apart = second - first
        weights = 6 * apart / (apart @ apart)
        self.head = Logit(weights.astype(np.float32), float(-3 - weights @ first), 0.1, 0.9)
        self.before = export(self.model, self.plain, 1, 2)
        self.whole = export(self.model, SMALL, 1, 2, head=self.head)


@pytest.fixture(scope="module")
def exported() -> Exported:
    pytest.importorskip("tensorflow", reason="the tools extra is not installed")
    return Exported()


def maps(model: bytes, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    from edgeinspect_tools.quantize.int8 import run_tflite

    return run_tflite(model)(tiles)


def test_a_tile_that_looks_sound_is_lowered_by_the_same_everywhere(exported: Exported) -> None:
    before, after = maps(exported.before, exported.tiles), maps(exported.whole, exported.tiles)
    assert before.shape == after.shape == (2, SIDE // 4, SIDE // 4, 2)
    assert before[0].std() > 1e-3
    assert np.allclose(before[0] - after[0], 3.0, atol=0.01)
    assert np.array_equal(before[1], after[1])


def test_half_the_weight_takes_off_half(exported: Exported) -> None:
    from edgeinspect_tools.train.methods.segmentation import export

    half = export(exported.model, replace(SMALL, pooled_head=0.5), 1, 2, head=exported.head)
    off = maps(exported.before, exported.tiles) - maps(half, exported.tiles)
    assert np.allclose(off[0], 1.5, atol=0.01)
    assert not off[1].any()


def test_without_weight_the_network_is_the_one_before(exported: Exported) -> None:
    names = [operator.name for operator in parse_tflite(exported.before, Path("m")).operators]
    more = [operator.name for operator in parse_tflite(exported.whole, Path("m")).operators]
    assert "MAX_POOL_2D" in more
    assert "MAX_POOL_2D" not in names
    assert [name for name in names if name != "SUB"] == names


def test_logits_are_as_fine_before_they_are_lowered_as_the_output_is(exported: Exported) -> None:
    last = parse_tflite(exported.whole, Path("m")).operators[-1]
    places, sound = (tensor.name for tensor in last.inputs if tensor is not None)
    wide = {places: (-48.0, 17.0), sound: (0.0, 3.0), "another": (-99.0, 99.0)}
    found = narrowed_to_output(exported.whole, wide, (-8.0, 7.9375))
    assert found == {**wide, places: (-8.0, 10.9375)}
    narrow = {**wide, places: (-2.0, 1.0)}
    assert narrowed_to_output(exported.whole, narrow, (-8.0, 7.9375)) == narrow
    assert narrowed_to_output(exported.before, wide, (-8.0, 7.9375)) == wide


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ai_edge_quantizer")
def test_int8_lowers_as_much_and_replays_bit_for_bit(exported: Exported, tmp_path: Path) -> None:
    from edgeinspect_tools.train.station_check import quick_bundle

    dataset = read_dataset(write_pictures(tmp_path / "pictures", good=8, each=6, side_px=96))
    folder = write_run(
        tmp_path / "run",
        dataset,
        exported.whole,
        tile_height_px=SIDE,
        tile_width_px=SIDE,
        tile_overlap_px=16,
    )
    described = json.loads((folder / "run.json").read_text()) | {"box_fill": 1.0}
    run = TrainedRun(folder=folder, model=folder / "model.float.tflite", description=described)
    pictures = Pictures(samples_of(dataset, Split.TRAIN), gray=True, reference=False)
    seen = [pictures[number].pixels for number in range(8)]
    bundle = quick_bundle(run, seen, tmp_path / "bundle", name="pooled", licence="CC0-1.0")
    found = check_model(parse_tflite(bundle.model, Path("model.tflite")))
    assert [place.operator for place in found.placements if not place.mapped] == []
    checked = verify_bundle(bundle, list(dataset.items), exported.whole)
    assert checked.replayed.identical
    corners = np.stack([real_input(picture[:SIDE, :SIDE]) for picture in seen])
    lowered = maps(exported.before, corners) - maps(exported.whole, corners)
    unlowered = 0.25 * float(lowered.mean())  # a score of one half moves by a quarter of the logit
    assert checked.scored.map_error["mean"] < unlowered / 4


def test_a_classifiers_head_weighs_the_features_that_it_was_fitted_to() -> None:
    pytest.importorskip("tensorflow", reason="the tools extra is not installed")
    from edgeinspect_tools.train.networks import classifier, pooled_features, set_classifier_head

    settings = replace(SMALL, pooled_head=0.0, freeze_stride_px=0)
    model = classifier(settings, channels=1, classes=3, shape_px=(SIDE, SIDE), norm=False)
    lively(model)
    rng = np.random.default_rng(5)
    pictures = rng.uniform(-1, 1, (2, SIDE, SIDE, 1)).astype(np.float32)
    features = np.asarray(pooled_features(model)(pictures))
    weights = rng.normal(size=(features.shape[1], 3)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    set_classifier_head(model, weights, bias)
    assert features.std() > 1e-3
    assert np.allclose(np.asarray(model(pictures)), features @ weights + bias, rtol=1e-3, atol=1e-3)
