"""A classifier's score over several tiles, worked out by hand; the edges of the reducers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeinspect.line.scores import (
    WORST_REGION_FLOOR,
    Activation,
    CellBox,
    ClassScorer,
    Histograms,
    MapScorer,
    Quantization,
    ReducerKind,
    SoftmaxTable,
    score_table,
    worst_box,
)

UINT8 = Quantization(dtype="uint8", scale=1 / 255, zero_point=0)
INT8 = Quantization(dtype="int8", scale=1 / 256, zero_point=-128)


def _classifier(activation: Activation = Activation.NONE) -> ClassScorer:
    """Good is channel 0; the defect classes are the channels 2 and 1, in this order."""
    return ClassScorer(channels=(2, 1), quantization=UINT8, activation=activation)


def _tiles(*rows: tuple[int, int, int]) -> list[np.ndarray]:
    return [np.array([row], np.uint8) for row in rows]


def test_a_defect_in_any_tile_counts() -> None:
    first_bad = _classifier().score(_tiles((0, 204, 51), (255, 0, 0)))
    second_bad = _classifier().score(_tiles((255, 0, 0), (0, 204, 51)))
    assert first_bad.scores == second_bad.scores == pytest.approx((0.2, 0.8))
    assert (first_bad.worst_tile, second_bad.worst_tile) == (0, 1)


def test_each_class_takes_its_highest_value_over_the_tiles() -> None:
    found = _classifier().score(_tiles((10, 102, 0), (20, 0, 153), (30, 51, 51)))
    assert found.scores == pytest.approx((0.6, 0.4))
    assert (found.top_channel, found.worst_tile) == (2, 1)
    assert found.top_value == pytest.approx(0.6)


def test_the_top_channel_may_be_the_good_one() -> None:
    found = _classifier().score(_tiles((255, 51, 0)))
    assert (found.top_channel, found.top_value) == (0, 1.0)
    assert found.scores == pytest.approx((0.0, 0.2))
    assert found.worst_tile == 0


def test_values_are_those_of_the_defect_classes_in_each_tile() -> None:
    values = _classifier().values(_tiles((255, 51, 102), (0, 153, 204)))
    assert values == pytest.approx(np.array([[0.4, 0.2], [0.8, 0.6]]))


def test_the_classifier_reads_signed_outputs() -> None:
    scorer = ClassScorer(channels=(1,), quantization=INT8, activation=Activation.NONE)
    found = scorer.score([np.array([127, -128], np.int8), np.array([-128, 64], np.int8)])
    assert found.scores == pytest.approx((192 / 256,))
    assert found.top_value == pytest.approx(255 / 256)
    assert found.worst_tile == 1


def test_softmax_mixes_the_classes_of_one_tile_only() -> None:
    logits = Quantization(dtype="int8", scale=0.1, zero_point=0)
    scorer = ClassScorer(channels=(1,), quantization=logits, activation=Activation.SOFTMAX)
    found = scorer.score([np.array([0, 0], np.int8), np.array([0, 20], np.int8)])
    assert found.scores == pytest.approx((1 / (1 + np.exp(-2)),), abs=0.5 / 255)
    assert found.worst_tile == 1 and found.top_channel == 1
    values = scorer.values([np.array([0, 0], np.int8), np.array([0, 20], np.int8)])
    assert values[0, 0] == pytest.approx(0.5, abs=0.5 / 255)


def test_softmax_of_coarse_logits_neither_overflows_nor_mixes_up() -> None:
    table = SoftmaxTable(Quantization(dtype="int8", scale=10.0, zero_point=0))
    found = table.apply(np.array([[127, -128], [-128, -128], [5, 4]], np.int8))
    assert found.tolist() == [[255, 0], [128, 128], [255, 0]]


def test_softmax_is_over_the_last_axis_of_any_shape() -> None:
    table = SoftmaxTable(Quantization(dtype="int8", scale=1.0, zero_point=0))
    cells = np.array([[[0, 3, 1], [5, 5, -4]], [[2, 0, 2], [-1, 0, 1]]], np.int8)
    by_cell = [[table.apply(cell) for cell in row] for row in cells]
    assert np.array_equal(table.apply(cells), by_cell)


def test_a_coarse_sigmoid_saturates_without_a_warning() -> None:
    table = score_table(Quantization(dtype="int8", scale=10.0, zero_point=0), Activation.SIGMOID)
    assert table[0] == 0.0 or table[0] < 1e-300
    assert table[128] == 0.5 and table[255] == 1.0


def test_one_channel_of_one_cell_is_enough() -> None:
    scorer = MapScorer(channels=(0,), quantization=UINT8, k=1)
    assert scorer.score(np.full((1, 1, 1), 51, np.uint8)).scores == pytest.approx((0.2,))
    with pytest.raises(ValueError, match="at least 1"):
        MapScorer(channels=(0,), quantization=UINT8, k=0)


@pytest.mark.parametrize(
    ("reducer", "k", "level"),
    [
        (ReducerKind.MAX, 3, 153.0),
        (ReducerKind.KTH_LARGEST, 2, 102.0),
        (ReducerKind.MEAN_TOP_K, 2, 127.5),
    ],
)
def test_each_reducer_makes_its_own_score_of_a_map(
    reducer: ReducerKind, k: int, level: float
) -> None:
    scorer = MapScorer(channels=(0,), quantization=UINT8, reducer=reducer, k=k)
    levels = np.array([[[0], [51]], [[102], [153]]], np.uint8)
    assert scorer.score(levels).scores == pytest.approx((level / 255,))


def test_the_table_of_a_scorer_is_the_one_it_uses() -> None:
    scorer = MapScorer(channels=(0,), quantization=INT8)
    assert np.array_equal(scorer.table, score_table(INT8, Activation.NONE))


def test_the_map_as_scores_keeps_the_order_of_the_classes() -> None:
    scorer = MapScorer(channels=(2, 0), quantization=INT8)
    stitched = np.array([[[-128, 0, 64], [0, 0, 127]]], np.int8)
    assert scorer.to_scores(stitched) == pytest.approx(
        np.array([[[192 / 256, 0.0], [255 / 256, 0.5]]], np.float32)
    )
    unsigned = MapScorer(channels=(1,), quantization=UINT8)
    assert unsigned.to_scores(np.array([[[0, 255]]], np.uint8)).tolist() == [[[1.0]]]


def test_ranks_of_two_classes_are_counted_apart() -> None:
    levels = np.array([[[10, 20], [30, 40]], [[200, 0], [0, 100]]], np.uint8)
    table = score_table(UINT8, Activation.NONE)
    found = Histograms(levels).kth_largest(np.array([1.0, 2.0, 3.0, 4.0, 9.0]), table)
    expected = np.array([[40, 30, 20, 10, 10], [200, 100, 0, 0, 0]]) / 255
    assert found == pytest.approx(expected)


def test_a_mean_of_the_highest_cells_is_at_most_one() -> None:
    table = np.linspace(0.0, 1.0, 256) + 1e-12  # what rounding may make of a sum of ones
    assert Histograms(np.full((1, 3, 3), 255, np.uint8)).mean_top_k(7, table).tolist() == [1.0]
    levels = np.array([[[0, 51], [102, 153]]], np.uint8)
    plain = score_table(UINT8, Activation.NONE)
    assert Histograms(levels).mean_top_k(2, plain) == pytest.approx([0.5])
    assert Histograms(levels).mean_top_k(9, plain) == pytest.approx([0.3])


def test_the_worst_box_begins_at_the_floor_and_at_half_of_the_peak() -> None:
    table = np.arange(256) / 200.0
    at_the_floor = np.zeros((2, 2), np.uint8)
    at_the_floor[1, 0] = round(WORST_REGION_FLOOR * 200)
    assert worst_box(at_the_floor, table) == CellBox(0, 1, 1, 1)
    at_the_floor[1, 0] -= 1
    assert worst_box(at_the_floor, table) is None

    levels = np.array([[100, 50, 49, 100], [0, 0, 0, 0]], np.uint8)
    assert worst_box(levels, table) == CellBox(0, 0, 2, 1)
