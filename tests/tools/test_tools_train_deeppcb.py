"""The circuit board recipe on drawn boards laid out as DeepPCB is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.bundle.golden import check_golden, read_golden
from edgeinspect.cli.application import run_command_line
from edgeinspect.errors import UsageError
from edgeinspect.hw.litert import open_engine
from edgeinspect_tools.shipped.deeppcb.boards import (
    CLASSES,
    HELD_OUT_BOARD,
    another_board,
    drawn_boards,
    read_split,
    train_and_validation,
    true_boxes,
)
from edgeinspect_tools.shipped.deeppcb.boxes import Corners, Found, boxes_from_map, figures
from edgeinspect_tools.shipped.deeppcb.drawn_defects import named, with_drawn_defect
from edgeinspect_tools.shipped.deeppcb.train_deeppcb import (
    evaluate_deeppcb,
    finished_bundle,
    main,
    make_bundle,
    recipe,
    train_deeppcb,
)
from edgeinspect_tools.train.samples import Sample


def boards(root: Path, *, pairs: int = 12) -> Path:
    """Drawn pairs with one box each, in DeepPCB's layout; the last two are the test split.

    Every third pair is of the board that validation keeps."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for group in (HELD_OUT_BOARD, "group1"):
        (root / group / "1").mkdir(parents=True)
        (root / group / "1_not").mkdir()
    for number, pair in enumerate(drawn_boards(pairs, 160)):
        tested, template = pair[..., 0].copy(), pair[..., 1]
        tested[:] = template
        tested[60:76, 70:90] ^= 0xFF
        group = "group1" if number % 3 else HELD_OUT_BOARD
        for end, pixels in (("test", tested), ("temp", template)):
            data = cv2.imencode(".jpg", pixels)[1].tobytes()
            (root / f"{group}/1/{number}_{end}.jpg").write_bytes(data)
        (root / f"{group}/1_not/{number}.txt").write_text(f"66 56 94 80 {number % 6 + 1}\n")
        name = "test" if number >= pairs - 2 else "trainval"
        lists[name].append(f"{group}/1/{number}.jpg {group}/1_not/{number}.txt")
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_the_official_split_is_read_with_templates_and_types(tmp_path: Path) -> None:
    root = boards(tmp_path / "pcb")
    test = read_split(root, "test")
    assert [sample.path.name for sample in test] == ["10_test.jpg", "11_test.jpg"]
    assert test[0].reference == root / "group1/1/10_temp.jpg"
    assert [box.kind for box in test[0].boxes] == [4]
    (corners,) = true_boxes(test[0])
    assert corners[:4] == (66, 56, 94, 80)
    training, validation = train_and_validation(root)
    assert {sample.group for sample in validation} == {HELD_OUT_BOARD}
    assert {sample.group for sample in training} == {"group1"}
    paths = {sample.path for sample in (*training, *validation)}
    assert len(paths) == len(training) + len(validation) == 10
    assert not paths & {sample.path for sample in test}


@pytest.mark.parametrize("row", ["1 2 3", "10 10 5 20 1", "10 10 20 20 7", "a b c d e"])
def test_wrong_labels_are_named(tmp_path: Path, row: str) -> None:
    root = boards(tmp_path / "pcb")
    (root / "group1/1_not/4.txt").write_text(row + "\n")
    with pytest.raises(UsageError, match=r"trainval\.txt: the line 'group1/1/4\.jpg"):
        read_split(root, "trainval")
    with pytest.raises(UsageError, match=r"nothing\.txt cannot be read"):
        read_split(root, "nothing")


def test_validation_needs_its_board_and_another(tmp_path: Path) -> None:
    root = boards(tmp_path / "pcb")
    with pytest.raises(UsageError, match=r"board group9.*found group1, group77000"):
        train_and_validation(root, "group9")
    lines = [line for line in (root / "trainval.txt").read_text().splitlines() if "77000" in line]
    (root / "trainval.txt").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"and others; found group77000"):
        train_and_validation(root)


def test_another_board_is_black_and_white_with_the_same_kinds_or_all_opposite() -> None:
    opposite = {0: 0, 1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5}
    pair = drawn_boards(1, 128)[0]
    labels = np.zeros((128, 128), np.uint8)
    for kind in range(1, 7):
        labels[34 + 8 * kind : 40 + 8 * kind, 50:80] = kind
    kept = negative = moved = 0
    for seed in range(60):
        pixels, marks = another_board(pair, labels, np.random.default_rng(seed))
        assert pixels.shape == pair.shape
        assert pixels.dtype == marks.dtype == np.uint8
        assert set(np.unique(pixels)) == {0, 255}
        assert set(np.unique(marks)) == set(range(7))
        if np.array_equal(marks, labels):
            kept += 1
            moved += not np.array_equal(pixels[..., 1], pair[..., 1])
        elif np.array_equal(marks, np.vectorize(opposite.get)(labels)):
            negative += 1
            assert (pixels[..., 0] == 255 - pair[..., 0]).mean() > 0.9
    assert min(kept, negative, moved) > 5


def _spot(rows: slice, columns: slice) -> np.ndarray:
    drawn = np.zeros((128, 128), np.bool_)
    drawn[rows, columns] = True
    return drawn


@pytest.mark.parametrize(
    ("rows", "columns", "kind"),
    [
        ((40, 60), (60, 66), "open"),
        ((40, 54), (60, 66), "mousebite"),
        ((46, 54), (60, 66), "pin-hole"),
        ((60, 80), (60, 66), "short"),
        ((60, 72), (60, 66), "spur"),
        ((66, 74), (60, 66), "copper"),
    ],
)
@pytest.mark.parametrize("quarters", [0, 1])
def test_a_change_of_copper_is_named_by_what_it_does(
    rows: tuple[int, int], columns: tuple[int, int], kind: str, quarters: int
) -> None:
    tracks = _spot(slice(40, 60), slice(0, 128)) | _spot(slice(80, 100), slice(0, 128))
    change = np.rot90(_spot(slice(*rows), slice(*columns)), quarters)
    assert named(np.rot90(tracks, quarters), change) == CLASSES.index(kind)


def test_a_change_is_not_named_where_a_pixel_would_decide() -> None:
    tracks = _spot(slice(40, 60), slice(0, 128))
    assert named(tracks, _spot(slice(41, 60), slice(60, 66))) is None
    assert named(tracks, _spot(slice(61, 70), slice(60, 66))) is None
    island = _spot(slice(40, 60), slice(60, 70))
    assert named(island, island) is None


def test_drawn_defects_lie_where_they_are_labelled_and_leave_the_others_alone() -> None:
    pair = drawn_boards(1, 128)[0]
    pair[..., 0] = pair[..., 1]
    labels = np.zeros((128, 128), np.uint8)
    labels[90:110, 20:40] = 3
    drawn: set[int] = set()
    for seed in range(80):
        pixels, marks = with_drawn_defect(pair, labels, np.random.default_rng(seed), box_fill=0.7)
        assert np.array_equal(pixels[..., 1], pair[..., 1])
        changed, marked = pixels[..., 0] != pair[..., 0], marks != labels
        assert changed.any() == marked.any()
        assert not (changed | marked)[90:110, 20:40].any()
        if not changed.any():
            continue
        (kind,) = np.unique(marks[marked])
        drawn.add(int(kind))
        x, y, width, height = cv2.boundingRect(changed.view(np.uint8))
        left, top, wide, high = cv2.boundingRect(marked.view(np.uint8))
        assert abs((x + width / 2) - (left + wide / 2)) <= 1
        assert abs((y + height / 2) - (top + high / 2)) <= 1
        assert abs(wide - 0.7 * (width + 20)) <= 2
        assert abs(high - 0.7 * (height + 20)) <= 2
        copper_taken = kind in (1, 3, 6)
        assert set(pixels[..., 0][changed]) == {255 if copper_taken else 0}
    assert len(drawn) >= 4


def test_a_speck_scores_less_than_a_spot_as_high() -> None:
    scores = np.zeros((40, 40, 6), np.float32)
    scores[5:9, 5:9, 0] = 0.8
    scores[20, 20:24, 1] = 0.9
    scores[30:36, 30:36, 2] = 0.7
    scores[32, 32, 2] = 0.75
    found = boxes_from_map(scores, stride_px=4.0, box_fill=1.0, top_k=16)
    assert [box.kind for box in found] == [0, 2, 1]
    wanted = [0.8, (0.75 + 15 * 0.7) / 16, 4 * 0.9 / 16]
    assert [box.score for box in found] == pytest.approx(wanted)


def test_the_threshold_lies_in_the_middle_of_those_as_good() -> None:
    def hit(number: int, score: float, *, right: bool) -> Found:
        left = 100.0 * number + (0 if right else 50)
        return Found(left, 0, left + 20, 20, 0, score)

    truth = [[Corners(100 * n, 0, 100 * n + 20, 20, 0) for n in range(4)]]
    right = [hit(n, 0.9 - 0.01 * n, right=True) for n in range(4)]
    found = [[*right, hit(0, 0.3, right=False), hit(1, 0.2, right=False)]]
    best = figures(found, truth, classes=1)
    assert best.f_score == 1
    assert best.threshold == pytest.approx((0.87 + 0.3) / 2)
    assert figures(found, truth, classes=1, threshold=0.25).f_score == pytest.approx(8 / 9)


def test_all_types_in_one_ranking_as_the_data_sets_own_script_has_it() -> None:
    truth = [[Corners(0, 0, 10, 10, 0), Corners(50, 0, 60, 10, 1)]]
    wrong = Found(200, 0, 210, 10, 0, 0.8)
    found = [[Found(0, 0, 10, 10, 0, 0.9), wrong, Found(50, 0, 60, 10, 1, 0.7)]]
    seen = figures(found, truth, classes=2)
    assert seen.pooled_average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert seen.mean_average_precision == 1.0
    assert figures([[]], truth, classes=2).pooled_average_precision == 0.0


def test_perfect_maps_get_perfect_figures(tmp_path: Path) -> None:
    samples = read_split(boards(tmp_path / "pcb"), "trainval")

    def perfect(sample: Sample) -> tuple[np.ndarray, float]:
        scores = np.zeros((40, 40, 6), np.float32)
        scores[14:20, 17:23, sample.boxes[0].kind] = 0.9
        return scores, 4.0

    found = evaluate_deeppcb(perfect, samples, threshold=0.5, box_fill=1.0)
    assert (found.mean_average_precision, found.f_score) == (1.0, 1.0)

    def shifted(sample: Sample) -> tuple[np.ndarray, float]:
        scores, stride = perfect(sample)
        return np.roll(scores, 5, axis=1), stride

    assert evaluate_deeppcb(shifted, samples, threshold=0.5, box_fill=1.0).f_score == 0.0


def test_drawn_boards_are_always_the_same() -> None:
    one, other = drawn_boards(), drawn_boards()
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(set(np.unique(board)) == {0, 255} for board in one)
    assert (one[0][..., 0] != one[0][..., 1]).any()


def test_bad_input_of_the_command_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--out", str(tmp_path / "run")]
    assert run_command_line(main, program="deeppcb", arguments=arguments) == 2
    assert capsys.readouterr().err.startswith(f"deeppcb: {tmp_path / 'trainval.txt'} cannot be")
    root = boards(tmp_path / "pcb")
    arguments = [str(root), "--out", str(tmp_path / "run"), "--resume", "--json"]
    assert run_command_line(main, program="deeppcb", arguments=arguments) == 2
    shown = capsys.readouterr()
    assert "nothing to resume" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["exit_code"] == 2


@pytest.mark.training
def test_the_whole_way_to_a_bundle_that_the_station_accepts(tmp_path: Path) -> None:
    root = boards(tmp_path / "pcb", pairs=24)
    quick = replace(recipe(minutes=10), tile_px=160, tile_overlap_px=32, batch=4)
    quick = replace(quick, steps=60, check_every=60, threads=1)
    run = train_deeppcb(root, tmp_path / "run", quick, say=lambda *, done, text: None)
    found = finished_bundle(make_bundle(run, root, tmp_path / "bundle"), run, root)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.card.input.reference
    assert bundle.card.defect_classes == CLASSES
    assert bundle.card.metrics["map"] == found["map"]
    assert bundle.certificate.comparison["map_int8"] == found["map"]
    assert HELD_OUT_BOARD in bundle.card.provenance["data"]
    golden = read_golden(bundle)
    assert all(np.array_equal(g.picture, b) for g, b in zip(golden, drawn_boards(), strict=True))
    engine = open_engine(bundle, threads=1)
    try:
        assert check_golden(bundle, engine).pictures == 2
    finally:
        engine.close()
