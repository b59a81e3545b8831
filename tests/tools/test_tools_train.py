"""Training's parts that need no TensorFlow: pictures, crops, boxes, choices, files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.errors import DiskFull, UsageError
from edgeinspect.line.scores import ReducerKind
from edgeinspect_tools.shipped.deeppcb.boxes import Corners, Found, boxes_from_map, figures, iou
from edgeinspect_tools.train import checkpoint, outcome
from edgeinspect_tools.train.augment import cut_square, pasted, relit, turned
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.choice import choose, scored_map, thresholds
from edgeinspect_tools.train.crops import (
    Arrays,
    CropSource,
    bag_labels,
    cell_targets,
    cell_weights,
    prepared,
)
from edgeinspect_tools.train.cross_validation import ious, pixel_confusion, summary
from edgeinspect_tools.train.head import STRENGTHS, fit_head
from edgeinspect_tools.train.maps import RANKS, MapMaker, Seen, look, worth
from edgeinspect_tools.train.methods.segmentation import crop_settings
from edgeinspect_tools.train.samples import (
    UNKNOWN,
    Box,
    Picture,
    Pictures,
    Sample,
    label_map,
    spread,
)
from edgeinspect_tools.train.training_settings import TrainSettings

SHORT = TrainSettings(tile_px=64, tile_overlap_px=16, crop_px=64, stride_px=4, batch=4)


def write(path: Path, pixels: NDArray[np.uint8]) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def marked(folder: Path, name: str, *, index: int | None, side: int = 96) -> Sample:
    """A grey picture of noise; class k is a square of brightness 200 + k."""
    rng = np.random.default_rng(sum(name.encode()))
    pixels = rng.integers(40, 60, (side, side), dtype=np.uint8)
    mask = np.zeros_like(pixels)
    if index is not None:
        mask[30:42, 50:64] = 255
        pixels[mask > 0] = 200 + index
    path = write(folder / f"{name}.png", pixels)
    saved = write(folder / f"{name}_mask.png", mask) if index is not None else None
    return Sample(path=path, index=index, mask=saved)


def read(samples: list[Sample]) -> Pictures:
    return Pictures(samples, gray=True, reference=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stride_px": 3}, "stride_px is 3; expected 2, 4 or 8"),
        ({"crop_px": 100}, "crop_px is 100; expected a multiple of 32"),
        ({"tile_overlap_px": 256}, "tile_overlap_px is 256; expected 0 to 252"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"minutes": -1.0}, "minutes is -1.0"),
        ({"batch": 0}, "batch is 0"),
        ({"encoder_stride_px": 8}, "encoder_stride_px is 8; expected 16 or 32"),
        ({"freeze_stride_px": 32}, "freeze_stride_px is 32; expected one of [0, 2, 4, 8, 16]"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        TrainSettings(**changes)  # type: ignore[arg-type]


def test_settings_become_plain_json() -> None:
    values = json.loads(json.dumps(TrainSettings().as_dict()))
    assert (values["network"], values["method"], values["stride_px"]) == ("small", "auto", 4)


def test_labels_come_from_masks_boxes_or_nothing(tmp_path: Path) -> None:
    sample = marked(tmp_path, "a", index=1)
    labels = read([sample])[0].labels
    assert set(np.unique(labels)) == {0, 2}
    assert int((labels == 2).sum()) == 12 * 14
    boxed = Sample(path=sample.path, index=0, boxes=(Box(10, 20, 20, 10, 0),))
    assert int((label_map(boxed, (96, 96), 1.0) == 1).sum()) == 200
    half = label_map(boxed, (96, 96), 0.5)
    rows, columns = np.nonzero(half)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (22, 27, 15, 24)
    unknown = Sample(path=sample.path, index=0)
    assert not unknown.located
    assert (label_map(unknown, (96, 96), 1.0) == UNKNOWN).all()


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    sample = marked(tmp_path, "a", index=0)
    small = write(tmp_path / "small.png", np.zeros((10, 20), np.uint8))
    wrong = Sample(path=sample.path, index=0, mask=small)
    with pytest.raises(UsageError, match=r"small\.png is 20 x 10 px, .*a\.png is 96 x 96 px"):
        read([wrong])[0]


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"broken\.png is not a readable picture"):
        read([Sample(path=path, index=None)])[0]
    with pytest.raises(UsageError, match=r"gone\.png cannot be read"):
        read([Sample(path=tmp_path / "gone.png", index=None)])[0]


def test_a_reference_is_the_last_channel_and_of_the_same_size(tmp_path: Path) -> None:
    one, other = marked(tmp_path, "a", index=0), marked(tmp_path, "b", index=None)
    pair = Sample(path=one.path, index=0, mask=one.mask, reference=other.path)
    pixels = Pictures([pair], gray=True, reference=True)[0].pixels
    assert pixels.shape == (96, 96, 2)
    assert np.array_equal(pixels[..., 1], read([other])[0].pixels[..., 0])
    small = write(tmp_path / "small.png", np.zeros((10, 20), np.uint8))
    wrong = Sample(path=one.path, index=0, mask=one.mask, reference=small)
    with pytest.raises(UsageError, match="a reference must have the size of its picture"):
        Pictures([wrong], gray=True, reference=True)[0]
    with pytest.raises(UsageError, match="has no reference picture"):
        Pictures([one], gray=True, reference=True)[0]


@given(seed=st.integers(0, 2**32 - 1), x=st.integers(0, 79), y=st.integers(0, 59))
def test_turning_and_cutting_keep_labels_on_their_pixels(seed: int, x: int, y: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((60, 80, 1), np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    pixels[y, x], labels[y, x] = 255, 7
    square, marks = cut_square(pixels, labels, (x, y), 32, rng, wobble=0)
    assert marks[16, 16] == 7
    square, marks = turned(square, marks, rng)
    assert np.array_equal(square[..., 0] == 255, marks == 7)
    assert np.array_equal(relit(square, rng, 0.0), square)


@given(seed=st.integers(0, 2**32 - 1))
def test_other_light_stays_within_eight_bits_and_moves_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.full((32, 32, 2), 20, np.uint8)
    pixels[10:20, 12:22] = 220
    lit = relit(pixels, rng, 1.0)
    assert lit.shape == pixels.shape
    assert float(lit[11:19, 13:21].mean()) > float(lit[:8].mean())


def test_pasting_carries_the_defect_and_its_label_only() -> None:
    pixels = np.full((64, 64, 1), 100, np.uint8)
    labels = np.zeros((64, 64), np.uint8)
    donor, donor_labels = np.full_like(pixels, 50), labels.copy()
    donor[30:36, 30:36], donor_labels[30:36, 30:36] = 90, 3
    mixed, marks = pasted(pixels, labels, donor, donor_labels)
    assert np.array_equal(marks, donor_labels)
    assert int(mixed[32, 32, 0]) == pytest.approx(140, abs=2)
    assert (mixed[:20] == 100).all()
    untouched = pasted(pixels, labels, donor, labels)
    assert np.array_equal(untouched[0], pixels)


def test_cells_are_labelled_by_the_share_that_is_defective() -> None:
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, :2, :4] = 1  # half of the first cell
    labels[0, 4:, 4:] = 2  # all of the last one
    labels[0, 4:, :4] = UNKNOWN
    targets = cell_targets(labels, 2, 4, gain=1.5)
    assert targets.shape == (1, 2, 2, 2)
    assert targets[0, 0, 0].tolist() == [0.75, 0.0]
    assert cell_targets(labels, 2, 4, gain=1.0)[0, 0, 0].tolist() == [0.5, 0.0]
    assert targets[0, 1, 1].tolist() == [0.0, 1.0]
    assert cell_weights(labels, 4)[0, :, :, 0].tolist() == [[1, 1], [0, 1]]
    bags = bag_labels([1, None], np.stack([labels[0], np.zeros((8, 8), np.uint8)]), 2)
    assert bags.tolist() == [[0, 1, 1], [0, 0, 0]]
    several = np.stack([np.where(labels[0] == UNKNOWN, 0, labels[0]), np.zeros((8, 8), np.uint8)])
    assert bag_labels([0, None], several, 2, located=0.5).tolist() == [[0, 1, 0.5], [0, 0, 0.5]]


def test_batches_repeat_and_show_every_class(tmp_path: Path) -> None:
    samples = [marked(tmp_path, f"bad{k}", index=k) for k in (0, 1)]
    samples += [marked(tmp_path, f"good{n}", index=None) for n in range(3)]
    source = CropSource(read(samples), classes=2, settings=SHORT)
    one, again = source.batch(5), source.batch(5)
    assert np.array_equal(one.pixels, again.pixels)
    assert np.array_equal(one.targets, again.targets)
    assert not np.array_equal(one.pixels, source.batch(6).pixels)
    shown = np.sum([source.batch(n).targets.sum(axis=(0, 1, 2)) for n in range(12)], axis=0)
    assert (shown > 0).all()
    assert one.pixels.shape == (4, 64, 64, 1)


def test_hard_spots_of_good_pictures_are_shown_more_often(tmp_path: Path) -> None:
    pixels = np.full((600, 900), 50, np.uint8)
    pixels[100:104, 850:854] = 255
    good = Sample(path=write(tmp_path / "good.png", pixels), index=None)
    bad = marked(tmp_path, "bad", index=0)
    source = CropSource(read([good, bad]), classes=1, settings=SHORT)

    def seen() -> int:
        batches = [source.batch(n) for n in range(60)]
        return sum(int((b.pixels.max(axis=(1, 2, 3)) > 240).sum()) for b in batches)

    before = seen()
    source.hard_spots = {0: [(852, 102)]}
    assert seen() > before + 10


def test_the_preparing_thread_hands_its_error_over() -> None:
    def make(number: int) -> Arrays:
        if number == 2:
            raise UsageError("a picture is gone")
        return [np.full(1, number, np.float32)], []

    with prepared(make, 0) as batches:
        assert [int(next(batches)[0][0][0]) for _ in range(2)] == [0, 1]
        with pytest.raises(UsageError, match="a picture is gone"):
            next(batches)


def test_unlocated_defects_are_cut_as_whole_pictures(tmp_path: Path) -> None:
    sample = marked(tmp_path, "a", index=0, side=150)
    weak = read([Sample(path=sample.path, index=0)])
    chosen = crop_settings(weak, SHORT)
    assert chosen.crop_px == 160
    assert chosen.batch >= 2
    assert crop_settings(read([sample]), SHORT) == SHORT


def test_validation_is_spread_over_both_kinds(tmp_path: Path) -> None:
    samples = [Sample(path=tmp_path, index=0 if n % 10 == 0 else None) for n in range(100)]
    chosen = spread(samples, 30)
    assert len(chosen) == 30
    assert sum(samples[n].index == 0 for n in chosen) == 10
    assert spread(samples, 1000) == list(range(100))


@settings(max_examples=50)
@given(x=st.integers(0, 30), y=st.integers(0, 20), w=st.integers(2, 8), h=st.integers(2, 8))
def test_a_planted_box_is_found_where_it_is(x: int, y: int, w: int, h: int) -> None:
    scores = np.zeros((30, 40, 2), np.float32)
    scores[y : y + h, x : x + w, 1] = 0.9
    (found,) = boxes_from_map(scores, stride_px=4, box_fill=1.0)
    assert found.kind == 1
    assert found.score == pytest.approx(0.9)
    true = Corners(4 * x, 4 * y, 4 * min(40, x + w), 4 * min(30, y + h), 1)
    assert iou(found, true) == pytest.approx(1.0)
    (wider,) = boxes_from_map(scores, stride_px=4, box_fill=0.5)
    assert wider.right - wider.left == pytest.approx(2 * (true.right - true.left))


def test_of_two_classes_in_one_place_the_stronger_is_kept() -> None:
    scores = np.zeros((20, 20, 2), np.float32)
    scores[5:10, 5:10] = (0.6, 0.8)
    scores[15:18, 15:18, 0] = 0.5
    found = boxes_from_map(scores, stride_px=1, box_fill=1.0)
    assert [(box.kind, round(box.score, 1)) for box in found] == [(1, 0.8), (0, 0.5)]


def box(left: float, score: float, kind: int = 0) -> Found:
    return Found(left, 0, left + 10, 10, kind, score)


def test_average_precision_and_f_score_of_a_known_case() -> None:
    truth = [[Corners(0, 0, 10, 10, 0), Corners(50, 0, 60, 10, 0)]]
    found = [[box(0, 0.9), box(200, 0.8), box(50, 0.7), box(50, 0.6)]]
    result = figures(found, truth, classes=1, threshold=0.65)
    # Hits at ranks 1 and 3: precision 1 and 2/3, each over half of the recall.
    assert result.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    assert result.f_score == pytest.approx(2 * 2 / (3 + 2))
    best = figures(found, truth, classes=1)
    assert best.f_score == pytest.approx(0.8)
    assert 0.6 < best.threshold < 0.7


def test_a_box_of_another_class_or_too_far_off_is_no_hit() -> None:
    truth = [[Corners(0, 0, 10, 10, 0)]]
    assert figures([[box(0, 0.9, kind=1)]], truth, classes=2).average_precision[0] == 0
    assert figures([[box(6, 0.9)]], truth, classes=1).f_score == 0
    assert figures([[box(4, 0.9)]], truth, classes=1).f_score == 1
    assert figures([[]], truth, classes=1).mean_average_precision == 0


def seen_of(index: int | None, *top: float) -> Seen:
    ranked = np.array([[top[min(n, len(top) - 1)] for n in range(len(RANKS))]], np.float32)
    means = np.array([[float(np.mean(top))] * len(RANKS)], np.float32)
    nothing = np.zeros(0, np.int64)
    return Seen(index, ranked, means, nothing, nothing, (0, 0))


def test_the_reducer_that_separates_is_chosen() -> None:
    # One bright cell on good parts, four on defective ones: the maximum cannot tell, rank 2 can.
    seen = [seen_of(None, 0.9, 0.1, 0.1, 0.1)] * 5 + [seen_of(0, 0.8, 0.8, 0.8, 0.8)] * 5
    chosen = choose(list(map(scored_map, seen)))
    assert chosen.kind is not ReducerKind.MAX
    assert chosen.auroc == 1.0
    assert (chosen.good, chosen.defective) == (5, 5)
    assert 0.1 < chosen.reject < 0.8


def test_a_lead_within_its_error_does_not_replace_the_maximum() -> None:
    """One picture of forty ranks better by its second cell; half of them do in the other case."""
    good = [seen_of(None, 0.5 + n / 100, 0.1) for n in range(20)]
    bad = [seen_of(0, 0.8 + n / 100, 0.7) for n in range(20)]
    by_chance = choose(list(map(scored_map, [*good, *bad[1:], seen_of(0, 0.6, 0.55)])))
    assert (by_chance.kind, by_chance.k) == (ReducerKind.MAX, 1)
    assert by_chance.auroc is not None
    assert by_chance.auroc < 1
    really = choose(list(map(scored_map, [*good, *bad[10:], *[seen_of(0, 0.6, 0.55)] * 10])))
    assert really.kind is not ReducerKind.MAX
    assert really.auroc == 1.0


def test_with_one_kind_only_nothing_is_claimed() -> None:
    chosen = choose(list(map(scored_map, [seen_of(0, 0.9)] * 3)))
    assert (chosen.kind, chosen.k, chosen.reject, chosen.auroc) == (ReducerKind.MAX, 1, 0.5, None)


@given(
    good=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    bad=st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_thresholds_are_ordered_and_no_worse_than_any_other(
    good: list[float], bad: list[float]
) -> None:
    review, reject = thresholds(np.array(good), np.array(bad))
    assert 0 <= review <= reject <= 1

    def cost(limit: float) -> float:
        missed = np.mean([value < limit for value in bad])
        return float(5 * missed + np.mean([value >= limit for value in good]))

    levels = np.unique([0.0, *good, *bad, 1.0])
    middles = (levels[1:] + levels[:-1]) / 2
    if np.diff(levels).min() > 1e-3:  # thresholds are rounded to four digits
        assert cost(reject) <= min(cost(float(limit)) for limit in middles) + 1e-9


def test_maps_are_stitched_at_the_right_place() -> None:
    def run(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        cells = tiles.reshape(len(tiles), 16, 4, 16, 4, 1).max(axis=(2, 4))
        return np.asarray(cells * 10, np.float32)

    pixels = np.zeros((100, 150, 1), np.uint8)
    pixels[70, 130] = 255
    labels = np.zeros((100, 150), np.uint8)
    labels[68:72, 128:132] = 1
    maker = MapMaker(run, SHORT)
    logits = maker.logits(pixels)
    assert logits.shape == (25, 38, 1)
    assert np.argwhere(logits[..., 0] > 5).tolist() == [[17, 32]]
    seen = look(maker, Picture(pixels, labels, 0), 4)
    assert seen.hard_spot == (130, 70)
    assert (seen.hits.tolist(), seen.union.tolist()) == ([1], [1])
    good = look(maker, Picture(np.zeros_like(pixels), np.zeros_like(labels), None), 4)
    found = worth([seen, good])
    assert (found.auroc, found.iou, found.value) == (1.0, 1.0, 1.0)


def test_the_summary_holds_int8_of_all_folds_against_float() -> None:
    def fold(*, auroc_float: float, flips: int, outside: int, error: float) -> dict[str, Any]:
        return {
            "classes": ["scratch"],
            "confusion": [[9, 1], [2, 8]],
            "pictures": [{"index": None, "scores": [0.1]}, {"index": 0, "scores": [0.9]}],
            "reject": 0.5,
            "minutes": 1.0,
            "steps": 10,
            "model_bytes": 1000,
            "int8_against_float": {
                "auroc_float": auroc_float,
                "flips": flips,
                "flips_outside_band": outside,
                "score_error_max": error,
            },
        }

    found = summary(
        [
            fold(auroc_float=0.9, flips=3, outside=0, error=0.2),
            fold(auroc_float=1.0, flips=4, outside=2, error=0.1),
        ]
    )
    assert found["auroc_mean_float"] == 0.95
    assert (found["flips"], found["flips_outside_band"]) == (7, 2)
    assert found["score_error_max"] == 0.2
    assert found["auroc_mean"] == 1.0


def test_pixels_are_counted_by_true_and_reported_class() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 2
    labels[0, 0] = UNKNOWN
    scores = np.zeros((2, 2, 2), np.float32)
    scores[:, 1] = (0.1, 0.9)
    confusion = pixel_confusion(scores, labels, 2, 4)
    assert confusion.sum() == 63
    assert confusion[2, 2] + confusion[2, 0] == 32
    cut = pixel_confusion(scores, labels[:7, :5], 2, 4)
    assert cut.sum() == 34
    assert cut[2, 2] == 7
    assert ious(np.array([[8, 0], [2, 10]])) == [0.8, 10 / 12]


def test_a_head_learns_what_is_linear_and_ignores_what_never_changes() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(0, 3, (300, 6)).astype(np.float32)
    features[:, 5] = 7.0
    labels = (features[:, 0] > 1).astype(np.int64)

    def worth_of(logits: NDArray[np.float64]) -> float:
        return float((logits.argmax(axis=1) == labels[200:]).mean())

    weights, bias, strength = fit_head(
        features[:200], labels[:200], features[200:], worth_of, classes=3
    )
    found = (features[200:] @ weights + bias).argmax(axis=1)
    assert (found == labels[200:]).mean() > 0.95
    assert not weights[5].any()
    assert strength < 1


def test_a_head_is_chosen_by_what_it_is_worth() -> None:
    rng = np.random.default_rng(6)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int64)
    sizes = []

    def flattest(logits: NDArray[np.float64]) -> float:
        sizes.append(float(np.abs(logits).max()))
        return -sizes[-1]

    _, _, strength = fit_head(features, labels, features, flattest, classes=2)
    assert (strength, len(sizes)) == (max(STRENGTHS), len(STRENGTHS))
    assert sizes == sorted(sizes)


def progress_of(seed: int) -> Progress:
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(3, 2)).astype(np.float32), np.array(5)]
    return Progress(
        step=40,
        seconds=1.5,
        best=0.25,
        curves=[{"step": 20, "value": 0.25}],
        hard_spots={3: [(4, 5)]},
        model=arrays,
        average=arrays[:1],
        optimizer=arrays[1:],
        chosen=arrays,
    )


def test_a_checkpoint_comes_back_whole(tmp_path: Path) -> None:
    before = progress_of(1)
    checkpoint.save(tmp_path / "c", before, identity={"seed": 1})
    after = checkpoint.load(tmp_path / "c", identity={"seed": 1})
    assert (after.step, after.hard_spots, after.curves) == (40, {3: [(4, 5)]}, before.curves)
    for group in ("model", "average", "optimizer", "chosen"):
        for one, other in zip(getattr(before, group), getattr(after, group), strict=True):
            assert np.array_equal(one, other)


def test_a_foreign_missing_or_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        checkpoint.load(tmp_path, identity={})
    checkpoint.save(tmp_path, progress_of(1), identity={"seed": 1, "data": "a"})
    with pytest.raises(UsageError, match="a run with other data, seed"):
        checkpoint.load(tmp_path, identity={"seed": 2, "data": "b"})
    file = tmp_path / "checkpoint.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UsageError, match="is damaged"):
        checkpoint.load(tmp_path, identity={"seed": 1})


def test_a_full_disk_leaves_no_run_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = [{"step": 10, "loss": 1.0, "value": 0.5}, {"step": 20, "loss": 0.5, "value": 0.6}]
    done = outcome.write_outcome(tmp_path, b"model", {"curves": curves})
    assert json.loads((tmp_path / "run.json").read_text())["format"] == 1
    assert done.model.read_bytes() == b"model"
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture is not None and picture.shape == (400, 640, 3)

    def full(path: Path, data: bytes) -> None:
        raise DiskFull(f"{path} could not be written (No space left on device).")

    monkeypatch.setattr(outcome, "replace_file", full)
    with pytest.raises(DiskFull):
        outcome.write_outcome(tmp_path, b"other", {"curves": curves})
    assert not (tmp_path / "run.json").exists()
