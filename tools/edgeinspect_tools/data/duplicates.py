"""Which pictures show the same part.

Two pictures of one part under another light still have the same thumbnail up to gain and offset,
so their normalised thumbnails correlate. But pictures from a fixture all look alike, part or no
part. So the mean picture and the strongest common variations (light, pose) are removed first: two
pictures are near-duplicates if what *distinguishes* them from the rest of the set correlates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.missing import need

DEFAULT_CORRELATION = 0.8
FEW_PICTURES = 40
FEW_CORRELATION = 0.98
"""Fewer pictures do not show what all have in common, so their thumbnails are compared unchanged,
against this stricter bound."""

_COMMON_VARIATIONS = 8


def near_duplicates(
    thumbnails: NDArray[np.uint8], *, correlation: float = DEFAULT_CORRELATION
) -> NDArray[np.intp]:
    """Find pairs of near-duplicates with one matrix product.

    Args:
        thumbnails: uint8 (n, height, width).
        correlation: the bound, (0, 1]; not used below ``FEW_PICTURES`` pictures.

    Returns:
        Index pairs (m, 2), first < second, sorted. Flat thumbnails match nothing.
    """
    count = len(thumbnails)
    if count < 2:
        return np.empty((0, 2), np.intp)
    flat = _unit_rows(thumbnails.reshape(count, -1).astype(np.float32))
    if count < FEW_PICTURES:
        similarity, bound = flat @ flat.T, FEW_CORRELATION
    else:
        similarity, bound = _residual_correlation(flat), correlation
    first, second = np.nonzero(np.triu(similarity > bound, 1))
    return np.stack([first, second], axis=1)


def joined(count: int, pairs: Sequence[tuple[int, int]] | NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the groups that the pairs connect; shape (count,), groups in order of appearance."""
    edges = np.asarray(pairs, np.intp).reshape(-1, 2)
    weights = (np.ones(len(edges)), (edges[:, 0], edges[:, 1]))
    graph = need("scipy.sparse").coo_array(weights, shape=(count, count))
    numbers = need("scipy.sparse.csgraph").connected_components(graph, directed=False)[1]
    return np.asarray(numbers, np.intp)


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.where(norm > 1.0, centred / np.maximum(norm, 1.0), 0.0), np.float32)


def _residual_correlation(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of the rows after their mean and principal components were removed.

    The components follow from the Gram matrix: R R' minus its leading eigenpairs is the Gram
    matrix of the rows with those components projected out.
    """
    eigsh = need("scipy.sparse.linalg").eigsh
    residual = rows - rows.mean(axis=0)
    gram = (residual @ residual.T).astype(np.float64)
    components = min(_COMMON_VARIATIONS, len(rows) // FEW_PICTURES)
    start = np.random.default_rng(0).standard_normal(len(rows))
    values, vectors = eigsh(gram, k=components, v0=start)
    gram -= (vectors * values) @ vectors.T
    # A picture without anything of its own leaves only rounding errors to compare.
    size = np.sqrt(np.maximum(np.diag(gram), 0.0))
    size[size < 1e-3] = np.inf
    return np.asarray(gram / size[:, None] / size[None, :], np.float64)
