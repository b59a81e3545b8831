"""Overlapping tiles over a region of interest, and the map stitched from their outputs.

Tiles are cut at native resolution, so a 3-pixel defect stays 3 pixels. Their origins are multiples
of the model's stride, so that every tile's map falls on the same grid of cells. The last tile of a
row or column is shifted inward. If a tile still extends beyond the right or bottom edge (because
the region is smaller than a tile, or its size does not fit the stride), the edge pixels are
repeated, and map cells entirely outside the region are discarded. Where tiles overlap, the stitched
map takes the higher value, because an escape costs most. All values are quantized; dequantization
is monotone, so taking the maximum here is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class TileOrigin(NamedTuple):
    """The tile's top left pixel, in pixels of the region of interest."""

    x: int
    y: int


MAX_TILES = 16_384
"""Most tiles of one region. More are a mistake, e.g. an overlap of all but one pixel."""


@dataclass(frozen=True, slots=True)
class TileLayout:
    """Where the tiles lie; the same for every frame of a recipe.

    Attributes:
        roi_width_px, roi_height_px: size of the region of interest.
        tile_width_px, tile_height_px: size of the model's input.
        stride_px: frame pixels per map cell; 1 for a model without a map.
        origins: the tiles' origins, row by row.
        padded_width_px, padded_height_px: extent that the tiles cover together; at least the
            region, and larger by less than a tile.
    """

    roi_width_px: int
    roi_height_px: int
    tile_width_px: int
    tile_height_px: int
    stride_px: int
    origins: tuple[TileOrigin, ...]
    padded_width_px: int
    padded_height_px: int

    @property
    def needs_padding(self) -> bool:
        """Whether the tiles extend beyond the region of interest."""
        return (self.padded_width_px, self.padded_height_px) != (
            self.roi_width_px,
            self.roi_height_px,
        )

    @property
    def map_shape(self) -> tuple[int, int]:
        """Height and width of the stitched map in cells; the last ones may be partly covered."""
        return (
            -(-self.roi_height_px // self.stride_px),
            -(-self.roi_width_px // self.stride_px),
        )


def lay_tiles(
    *,
    roi_width_px: int,
    roi_height_px: int,
    tile_width_px: int,
    tile_height_px: int,
    overlap_px: int = 0,
    stride_px: int = 1,
) -> TileLayout:
    """Lay tiles so that every pixel of the region is covered.

    Neighbours overlap by at least ``overlap_px``, and by more if the stride requires it.

    Raises:
        ValueError: a size is below 1, the overlap is as large as the tile, the stride is larger
            than the rest of the tile after the overlap, or there are more than ``MAX_TILES`` tiles.
    """
    if min(roi_width_px, roi_height_px, tile_width_px, tile_height_px, stride_px) < 1:
        raise ValueError("sizes and stride must be at least 1 px")
    if not 0 <= overlap_px < min(tile_width_px, tile_height_px):
        raise ValueError(f"an overlap of {overlap_px} px does not fit the tile")
    columns, right = _origins_along(roi_width_px, tile_width_px, overlap_px, stride_px)
    rows, bottom = _origins_along(roi_height_px, tile_height_px, overlap_px, stride_px)
    count = (len(columns) + 1) * (len(rows) + 1)
    if count > MAX_TILES:
        raise ValueError(f"the region would need {count} tiles; the limit is {MAX_TILES}")
    return TileLayout(
        roi_width_px=roi_width_px,
        roi_height_px=roi_height_px,
        tile_width_px=tile_width_px,
        tile_height_px=tile_height_px,
        stride_px=stride_px,
        origins=tuple(TileOrigin(x, y) for y in (*rows, bottom) for x in (*columns, right)),
        padded_width_px=max(roi_width_px, right + tile_width_px),
        padded_height_px=max(roi_height_px, bottom + tile_height_px),
    )


def _origins_along(extent: int, tile: int, overlap: int, stride: int) -> tuple[range, int]:
    """All origins but the last, not yet counted out, and the last."""
    if extent <= tile:
        return range(0), 0
    step = (tile - overlap) // stride * stride
    if step < 1:
        raise ValueError(
            f"with an overlap of {overlap} px, tiles would be less than the stride of {stride} px "
            "apart"
        )
    last = -(-(extent - tile) // stride) * stride
    return range(0, last, step), last


class TileCutter:
    """Cuts frames of one layout into tiles; owns the padded buffer if one is needed.

    Args:
        dtype: of the pixels to cut.
        channels: of the pixels to cut; None for (height, width) arrays.
    """

    def __init__(self, layout: TileLayout, *, dtype: str, channels: int | None) -> None:
        self._layout = layout
        tail = () if channels is None else (channels,)
        self._roi_shape = (layout.roi_height_px, layout.roi_width_px, *tail)
        self._padded: NDArray[np.generic] | None = None
        if layout.needs_padding:
            shape = (layout.padded_height_px, layout.padded_width_px, *tail)
            self._padded = np.zeros(shape, dtype)

    def cut(self, pixels: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """Return the tiles in the layout's order, as views.

        They are views of ``pixels`` or of the padded buffer, which the next call overwrites.

        Raises:
            ValueError: ``pixels`` does not have the size of the layout's region.
        """
        if pixels.shape != self._roi_shape:
            raise ValueError(f"pixels of shape {self._roi_shape} expected, got {pixels.shape}")
        source = pixels if self._padded is None else self._pad(self._padded, pixels)
        height, width = self._layout.tile_height_px, self._layout.tile_width_px
        return [source[y : y + height, x : x + width] for x, y in self._layout.origins]

    def _pad(self, padded: NDArray[np.generic], pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        height, width = pixels.shape[:2]
        padded[:height, :width] = pixels
        padded[:height, width:] = pixels[:, -1:]
        padded[height:] = padded[height - 1]
        return padded


class MapStitcher:
    """Joins the tiles' maps into one; owns the canvas, which every call overwrites.

    Args:
        channels: of the tiles' maps, their last axis.
        dtype: "int8" or "uint8".
    """

    def __init__(self, layout: TileLayout, *, channels: int, dtype: str) -> None:
        stride = layout.stride_px
        rows, columns = layout.map_shape
        self.tile_shape = (
            -(-layout.tile_height_px // stride),
            -(-layout.tile_width_px // stride),
            channels,
        )
        self._canvas = np.empty((rows, columns, channels), dtype)
        self._lowest = np.iinfo(dtype).min
        self._parts: list[tuple[NDArray[np.generic], tuple[slice, slice]]] = []
        for x, y in layout.origins:
            top, left = y // stride, x // stride
            height = min(self.tile_shape[0], rows - top)
            width = min(self.tile_shape[1], columns - left)
            inside = self._canvas[top : top + height, left : left + width]
            self._parts.append((inside, (slice(height), slice(width))))

    def stitch(self, outputs: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        """Return the map of the whole region, shape (map height, map width, channels).

        Args:
            outputs: one per tile in the layout's order, each of shape ``tile_shape``.

        Returns:
            The canvas itself; copy anything that must outlive the next call.

        Raises:
            ValueError: the number of outputs or the shape of one is wrong.
        """
        if len(outputs) != len(self._parts):
            raise ValueError(f"{len(self._parts)} tile outputs expected, got {len(outputs)}")
        self._canvas.fill(self._lowest)
        for output, (inside, used) in zip(outputs, self._parts, strict=True):
            if output.shape != self.tile_shape:
                raise ValueError(f"shape {self.tile_shape} expected, got {output.shape}")
            np.maximum(inside, output[used], out=inside)
        return self._canvas
