"""Tiling and stitching: a planted defect at any position is found at the right place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeinspect.line.tiles import MAX_TILES, MapStitcher, TileCutter, TileLayout, lay_tiles


@st.composite
def layouts(draw: st.DrawFn) -> tuple[TileLayout, int]:
    stride = draw(st.integers(1, 9))
    tile_width, tile_height = (draw(st.integers(stride, 40)) for _ in range(2))
    overlap = draw(st.integers(0, min(tile_width, tile_height) - stride))
    layout = lay_tiles(
        roi_width_px=draw(st.integers(1, 97)),
        roi_height_px=draw(st.integers(1, 97)),
        tile_width_px=tile_width,
        tile_height_px=tile_height,
        overlap_px=overlap,
        stride_px=stride,
    )
    return layout, overlap


def max_pool(tile: np.ndarray, stride: int) -> np.ndarray:
    """A model that marks every cell by its brightest pixel, as a stride-s convolution might."""
    rows, columns = (-(-extent // stride) for extent in tile.shape)
    cells = [
        [
            tile[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].max()
            for x in range(columns)
        ]
        for y in range(rows)
    ]
    return np.array(cells, dtype=tile.dtype)[:, :, None]


def inspect(layout: TileLayout, pixels: np.ndarray) -> np.ndarray:
    cutter = TileCutter(layout, dtype=str(pixels.dtype), channels=None)
    stitcher = MapStitcher(layout, channels=1, dtype=str(pixels.dtype))
    tiles = cutter.cut(pixels)
    assert {tile.shape for tile in tiles} == {(layout.tile_height_px, layout.tile_width_px)}
    return stitcher.stitch([max_pool(tile, layout.stride_px) for tile in tiles])[:, :, 0]


@given(layouts(), st.data(), st.sampled_from(["uint8", "int8"]))
def test_a_planted_defect_is_found_at_its_place_and_nowhere_else(
    case: tuple[TileLayout, int], data: st.DataObject, dtype: str
) -> None:
    layout, _ = case
    x = data.draw(st.integers(0, layout.roi_width_px - 1))
    y = data.draw(st.integers(0, layout.roi_height_px - 1))
    lowest = np.iinfo(dtype).min
    pixels = np.full((layout.roi_height_px, layout.roi_width_px), lowest, dtype)
    pixels[y, x] = 100
    found = inspect(layout, pixels)
    assert found.shape == layout.map_shape
    marked = {(int(row), int(column)) for row, column in np.argwhere(found > lowest)}
    expected = (y // layout.stride_px, x // layout.stride_px)
    # On the region's last row or column the padding repeats the pixel, inside the same cell.
    assert marked == {expected}
    assert found[expected] == 100


@given(layouts())
def test_every_pixel_is_covered_and_neighbours_overlap(case: tuple[TileLayout, int]) -> None:
    layout, overlap = case
    covered = np.zeros((layout.padded_height_px, layout.padded_width_px), bool)
    for x, y in layout.origins:
        assert x % layout.stride_px == 0
        assert y % layout.stride_px == 0
        assert x + layout.tile_width_px <= layout.padded_width_px
        covered[y : y + layout.tile_height_px, x : x + layout.tile_width_px] = True
    assert covered[: layout.roi_height_px, : layout.roi_width_px].all()
    columns = sorted({x for x, _ in layout.origins})
    for left, right in itertools.pairwise(columns):
        assert left + layout.tile_width_px - right >= overlap
    assert len(set(layout.origins)) == len(layout.origins)


@given(layouts())
def test_padding_hangs_over_by_less_than_a_stride_once_the_region_fills_a_tile(
    case: tuple[TileLayout, int],
) -> None:
    layout, _ = case
    if layout.roi_width_px >= layout.tile_width_px:
        assert layout.padded_width_px - layout.roi_width_px < layout.stride_px
    else:
        assert layout.padded_width_px == layout.tile_width_px


@given(layouts(), st.integers(0, 2**32 - 1))
def test_the_stitched_map_equals_the_model_on_the_whole_region(
    case: tuple[TileLayout, int], seed: int
) -> None:
    layout, _ = case
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (layout.roi_height_px, layout.roi_width_px), dtype=np.uint8)
    assert np.array_equal(inspect(layout, pixels), max_pool(pixels, layout.stride_px)[:, :, 0])


@pytest.mark.parametrize(
    "sizes",
    [
        # region, tile, overlap, stride
        ((7, 5), (4, 3), 1, 2),
        ((5, 7), (3, 4), 1, 2),
        ((13, 9), (6, 4), 1, 3),
        ((9, 13), (4, 6), 1, 3),
        ((10, 4), (5, 4), 0, 1),
        ((3, 3), (5, 4), 0, 2),
    ],
)
def test_some_layouts_give_the_map_of_the_whole_region(
    sizes: tuple[tuple[int, int], tuple[int, int], int, int],
) -> None:
    region, tile, overlap, stride = sizes
    layout = lay_tiles(
        roi_width_px=region[0],
        roi_height_px=region[1],
        tile_width_px=tile[0],
        tile_height_px=tile[1],
        overlap_px=overlap,
        stride_px=stride,
    )
    pixels = np.random.default_rng(1).integers(0, 256, region[::-1], dtype=np.uint8)
    expected = max_pool(pixels, stride)[:, :, 0]
    assert layout.map_shape == expected.shape
    assert np.array_equal(inspect(layout, pixels), expected)


@pytest.mark.parametrize(
    ("width_px", "height_px", "allowed"),
    [
        (MAX_TILES, 1, True),
        (MAX_TILES + 1, 1, False),
        (1, MAX_TILES, True),
        (1, MAX_TILES + 1, False),
        (MAX_TILES // 2, 2, True),
        (MAX_TILES // 2 + 1, 2, False),
    ],
)
def test_a_region_takes_at_most_so_many_tiles(width_px: int, height_px: int, allowed: bool) -> None:
    sizes = {"roi_width_px": width_px, "roi_height_px": height_px}
    if allowed:
        layout = lay_tiles(tile_width_px=1, tile_height_px=1, **sizes)
        assert len(layout.origins) == MAX_TILES
        return
    with pytest.raises(ValueError, match=f"the limit is {MAX_TILES}"):
        lay_tiles(tile_width_px=1, tile_height_px=1, **sizes)


def test_overlaps_take_the_higher_value_of_negative_numbers_too() -> None:
    layout = lay_tiles(
        roi_width_px=6, roi_height_px=4, tile_width_px=4, tile_height_px=4, overlap_px=2
    )
    outputs = [np.full((4, 4, 1), value, np.int8) for value in (-100, -90)]
    stitched = MapStitcher(layout, channels=1, dtype="int8").stitch(outputs)
    assert stitched[0, :, 0].tolist() == [-100, -100, -90, -90, -90, -90]


def test_a_region_that_fits_is_cut_into_views_without_copying() -> None:
    layout = lay_tiles(
        roi_width_px=8, roi_height_px=4, tile_width_px=4, tile_height_px=4, stride_px=2
    )
    pixels = np.zeros((4, 8, 3), np.uint8)
    tiles = TileCutter(layout, dtype="uint8", channels=3).cut(pixels)
    assert [np.shares_memory(tile, pixels) for tile in tiles] == [True, True]
    assert [tile.shape for tile in tiles] == [(4, 4, 3), (4, 4, 3)]


def test_a_small_region_is_padded_by_its_edge_pixels() -> None:
    layout = lay_tiles(roi_width_px=2, roi_height_px=2, tile_width_px=4, tile_height_px=3)
    pixels = np.array([[1, 2], [3, 4]], np.uint8)
    (tile,) = TileCutter(layout, dtype="uint8", channels=None).cut(pixels)
    assert tile.tolist() == [[1, 2, 2, 2], [3, 4, 4, 4], [3, 4, 4, 4]]
    layout = lay_tiles(roi_width_px=3, roi_height_px=1, tile_width_px=5, tile_height_px=1)
    (tile,) = TileCutter(layout, dtype="uint8", channels=None).cut(np.array([[1, 2, 3]], np.uint8))
    assert tile.tolist() == [[1, 2, 3, 3, 3]]


@pytest.mark.parametrize(("height_px", "width_px"), [(5, 2), (2, 5)])
def test_every_cell_of_a_tile_that_is_not_square_is_in_the_map(
    height_px: int, width_px: int
) -> None:
    layout = lay_tiles(
        roi_width_px=2 * width_px,
        roi_height_px=height_px,
        tile_width_px=width_px,
        tile_height_px=height_px,
    )
    outputs = [np.full((height_px, width_px, 1), value, np.int8) for value in (7, 9)]
    stitched = MapStitcher(layout, channels=1, dtype="int8").stitch(outputs)
    assert stitched[:, :, 0].tolist() == [[7] * width_px + [9] * width_px] * height_px


def test_wrong_sizes_are_refused() -> None:
    layout = lay_tiles(roi_width_px=8, roi_height_px=4, tile_width_px=4, tile_height_px=4)
    with pytest.raises(ValueError, match="pixels of shape"):
        TileCutter(layout, dtype="uint8", channels=None).cut(np.zeros((4, 9), np.uint8))
    stitcher = MapStitcher(layout, channels=1, dtype="uint8")
    with pytest.raises(ValueError, match="2 tile outputs"):
        stitcher.stitch([np.zeros((4, 4, 1), np.uint8)])
    with pytest.raises(ValueError, match="shape"):
        stitcher.stitch([np.zeros((1, 1, 1), np.uint8)] * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roi_width_px": 0}, "at least 1"),
        ({"overlap_px": 4}, "overlap"),
        ({"overlap_px": 3, "stride_px": 2}, "stride"),
    ],
)
def test_impossible_layouts_are_refused(change: dict[str, int], message: str) -> None:
    sizes = {"roi_width_px": 9, "roi_height_px": 9, "tile_width_px": 4, "tile_height_px": 4}
    with pytest.raises(ValueError, match=message):
        lay_tiles(**{**sizes, **change})


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"overlap_px": 0}, True),
        ({"overlap_px": 5}, True),
        ({"overlap_px": 6}, False),
        ({"overlap_px": 7}, False),
        ({"overlap_px": -1}, False),
        ({"roi_width_px": 1, "roi_height_px": 1}, True),
        ({"roi_width_px": 0}, False),
        ({"stride_px": 0}, False),
    ],
)
def test_the_edges_of_what_can_be_laid(change: dict[str, int], allowed: bool) -> None:
    sizes = {
        "roi_width_px": 20,
        "roi_height_px": 20,
        "tile_width_px": 8,
        "tile_height_px": 6,
        "overlap_px": 2,
        **change,
    }
    if allowed:
        assert lay_tiles(**sizes).origins[0] == (0, 0)
        return
    with pytest.raises(ValueError, match=r"overlap|at least 1 px"):
        lay_tiles(**sizes)


def test_a_region_as_large_as_the_tile_takes_one_tile() -> None:
    layout = lay_tiles(roi_width_px=8, roi_height_px=8, tile_width_px=8, tile_height_px=8)
    assert layout.origins == ((0, 0),) and not layout.needs_padding


def test_one_tile_needs_no_room_for_a_stride_beside_its_overlap() -> None:
    sizes = {"tile_width_px": 4, "tile_height_px": 4, "overlap_px": 3, "stride_px": 2}
    assert lay_tiles(roi_width_px=4, roi_height_px=4, **sizes).origins == ((0, 0),)


@pytest.mark.parametrize("overlap_px", [6, 7])
def test_an_overlap_as_large_as_the_tile_is_refused_for_one_tile_too(overlap_px: int) -> None:
    with pytest.raises(ValueError, match="does not fit the tile"):
        lay_tiles(
            roi_width_px=4,
            roi_height_px=4,
            tile_width_px=8,
            tile_height_px=6,
            overlap_px=overlap_px,
        )


def test_colour_is_padded_by_its_edge_pixels() -> None:
    layout = lay_tiles(roi_width_px=2, roi_height_px=1, tile_width_px=3, tile_height_px=2)
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    (tile,) = TileCutter(layout, dtype="uint8", channels=3).cut(pixels)
    row = [[1, 2, 3], [4, 5, 6], [4, 5, 6]]
    assert tile.tolist() == [row, row]
