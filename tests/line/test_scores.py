"""Scores from quantized maps, against a float reference that looks at every cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeinspect.line.scores import (
    ORDER_STATISTIC_RANKS,
    PROBABILITY,
    Activation,
    CellBox,
    ClassScorer,
    MapScorer,
    Quantization,
    ReducerKind,
    SoftmaxTable,
    score_table,
)

quantizations = st.builds(
    lambda dtype, scale, offset: Quantization(
        dtype=dtype, scale=scale, zero_point=offset + int(np.iinfo(dtype).min)
    ),
    st.sampled_from(["int8", "uint8"]),
    st.floats(1e-4, 0.5),
    st.integers(0, 255),
)


@st.composite
def maps(draw: st.DrawFn) -> tuple[Quantization, NDArray[np.generic]]:
    quantization = draw(quantizations)
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = np.iinfo(quantization.dtype)
    span = draw(st.integers(1, 256))
    low = limits.min + draw(st.integers(0, 256 - span))
    return quantization, rng.integers(low, low + span, shape).astype(quantization.dtype)


def reference(
    quantization: Quantization, activation: Activation, quantized: NDArray[np.generic]
) -> NDArray[np.float64]:
    real = (quantized.astype(np.float64) - quantization.zero_point) * quantization.scale
    if activation is Activation.SIGMOID:
        real = 1 / (1 + np.exp(-real))
    return np.clip(real, 0, 1)


@given(
    maps(),
    st.sampled_from([Activation.NONE, Activation.SIGMOID]),
    st.sampled_from(list(ReducerKind)),
    st.integers(1, 1200),
)
def test_scores_equal_the_float_reference(
    case: tuple[Quantization, NDArray[np.generic]],
    activation: Activation,
    reducer: ReducerKind,
    k: int,
) -> None:
    quantization, quantized = case
    channels = range(quantized.shape[2])
    scorer = MapScorer(
        channels=channels, quantization=quantization, activation=activation, reducer=reducer, k=k
    )
    result = scorer.score(quantized)
    values = reference(quantization, activation, quantized)
    for channel in channels:
        ordered = np.sort(values[:, :, channel].ravel())[::-1]
        count = min(k, ordered.size)
        expected = {
            ReducerKind.MAX: ordered[0],
            ReducerKind.KTH_LARGEST: ordered[count - 1],
            ReducerKind.MEAN_TOP_K: ordered[:count].mean(),
        }[reducer]
        assert result.scores[channel] == pytest.approx(expected, abs=1e-12)
        ranks = [min(rank, ordered.size) - 1 for rank in ORDER_STATISTIC_RANKS]
        assert result.order_statistics[channel] == pytest.approx(ordered[ranks], abs=1e-12)
    assert result.scores[result.top] == max(result.scores)
    assert scorer.to_scores(quantized) == pytest.approx(values.astype(np.float32), abs=1e-7)


@given(quantizations, st.sampled_from([Activation.NONE, Activation.SIGMOID]))
def test_the_table_is_monotone_and_bounded(
    quantization: Quantization, activation: Activation
) -> None:
    table = score_table(quantization, activation)
    assert (np.diff(table) >= 0).all()
    assert table[0] >= 0
    assert table[-1] <= 1


@given(maps())
def test_softmax_is_within_half_a_step_of_the_float_reference(
    case: tuple[Quantization, NDArray[np.generic]],
) -> None:
    quantization, quantized = case
    real = (quantized.astype(np.float64) - quantization.zero_point) * quantization.scale
    exponentials = np.exp(real - real.max(axis=-1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=-1, keepdims=True)
    found = SoftmaxTable(quantization).apply(quantized)
    assert found.dtype == np.uint8
    table = score_table(PROBABILITY, Activation.NONE)
    assert table[found] == pytest.approx(expected, abs=0.5 / 255 + 1e-9)


def test_softmax_has_no_table_of_one_value() -> None:
    with pytest.raises(ValueError, match="softmax"):
        score_table(PROBABILITY, Activation.SOFTMAX)


def test_only_the_chosen_channels_count() -> None:
    quantized = np.zeros((2, 2, 3), np.uint8)
    quantized[..., 1] = 255
    quantized[0, 0, 2] = 128
    result = MapScorer(channels=[0, 2], quantization=PROBABILITY).score(quantized)
    assert result.scores == (0.0, 128 / 255)
    assert result.top == 1


def plane(text: str) -> NDArray[np.int8]:
    rows = [[int(cell) * 25 - 128 for cell in row] for row in text.split()]
    return np.array(rows, np.int8)[:, :, None]


def test_the_worst_box_is_the_connected_spot_around_the_maximum() -> None:
    quantized = plane(
        """
        0000000
        0580004
        0050000
        0004000
        0000006
        """
    )
    scorer = MapScorer(
        channels=[0], quantization=Quantization(dtype="int8", scale=1 / 255, zero_point=-128)
    )
    # 8 is the peak; 5 and 4 reach its half, diagonal neighbours too; far 4 and 6 are apart.
    assert scorer.score(quantized).worst_box == CellBox(1, 1, 3, 3)
    assert scorer.score(np.full((3, 3, 1), -128, np.int8)).worst_box is None


@given(maps())
def test_the_worst_box_holds_a_maximum(case: tuple[Quantization, NDArray[np.generic]]) -> None:
    quantization, quantized = case
    scorer = MapScorer(channels=[0], quantization=quantization, activation=Activation.SIGMOID)
    box = scorer.score(quantized).worst_box
    if box is not None:
        inside = quantized[box.y : box.y + box.height, box.x : box.x + box.width, 0]
        assert inside.shape == (box.height, box.width)
        assert inside.max() == quantized[:, :, 0].max()


@pytest.mark.parametrize("arguments", [{"channels": [], "k": 1}, {"channels": [0], "k": 0}])
def test_impossible_scorers_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MapScorer(quantization=PROBABILITY, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("activation", "scale"), [(Activation.NONE, 1 / 255), (Activation.SOFTMAX, 0.01)]
)
@pytest.mark.parametrize(("count", "defective"), [(2, 0), (2, 1), (3, 1), (5, 0), (5, 4)])
def test_a_defect_in_any_tile_is_the_pictures_defect(
    activation: Activation, scale: float, count: int, defective: int
) -> None:
    quantization = Quantization(dtype="int8", scale=scale, zero_point=-128)
    scorer = ClassScorer(channels=[1], quantization=quantization, activation=activation)
    tiles = [np.array([[60, -120]], np.int8) for _ in range(count)]
    tiles[defective] = np.array([[-120, 90]], np.int8)
    found = scorer.score(tiles)
    each = scorer.values(tiles)[:, 0]
    assert each[defective] > 0.8 > 0.2 > np.delete(each, defective).max()
    assert found.scores == (each[defective],)
    assert (found.top_channel, found.top_value) == (1, each[defective])
    assert found.worst_tile == defective
