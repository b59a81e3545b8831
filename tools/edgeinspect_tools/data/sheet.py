"""A contact sheet: some pictures of every class, framed in the colour of their split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import CameraFault, StorageFault
from edgeinspect.hw.picture_file import read_picture
from edgeinspect_tools.data.dataset import Dataset, Item, Split
from edgeinspect_tools.data.pick import evenly
from edgeinspect_tools.data.scan import read_mask

SPLIT_COLORS: dict[Split, tuple[int, int, int]] = {
    Split.TRAIN: (86, 130, 200),
    Split.CALIBRATION: (150, 150, 150),
    Split.VALIDATION: (230, 170, 50),
    Split.TEST: (200, 70, 80),
}
"""RGB. The report uses the same."""

_CELL = 132
_FRAME = 4
_TITLE = 26
_MARK = (255, 60, 60)


def thumbnail(item: Item, *, size_px: int) -> NDArray[np.uint8]:
    """The picture with its marked defects, fitted into a square; uint8 (size, size, 3) RGB.

    A picture that can no longer be read is a dark square.
    """
    import cv2

    square = np.full((size_px, size_px, 3), 30, np.uint8)
    try:
        pixels = read_picture(item.path)
    except CameraFault:
        return square
    scale = size_px / max(pixels.shape[:2])
    width = max(1, min(size_px, round(pixels.shape[1] * scale)))
    height = max(1, min(size_px, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    small = small if small.ndim == 3 else cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
    if item.mask is not None:
        mask = read_mask(item.mask, width=item.width, height=item.height, picture=item.path)
        reduced = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        outline = cv2.morphologyEx(
            (reduced > 0).astype(np.uint8), cv2.MORPH_DILATE, np.ones((3, 3))
        )
        small[(outline > 0) & (reduced == 0)] = _MARK
    for box in item.boxes:
        corners = [round(edge * scale) for edge in (box.left, box.top, box.right, box.bottom)]
        cv2.rectangle(small, tuple(corners[:2]), tuple(corners[2:]), _MARK, 1)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    square[top : top + height, left : left + width] = small
    return square


def contact_sheet(dataset: Dataset, *, columns: int = 8, rows_per_class: int = 2) -> bytes:
    """Draw the sheet as PNG; the same data set gives the same sheet."""
    import cv2

    stripes = [_legend(columns)]
    for label in dataset.classes:
        items = [item for item in dataset.items if item.label == label]
        if not items:
            continue
        chosen = evenly(items, columns * rows_per_class)
        stripes.append(_title(f"{label}: {len(items)} pictures", columns))
        for start in range(0, len(chosen), columns):
            cells = [_cell(item) for item in chosen[start : start + columns]]
            cells += [np.zeros((_CELL, _CELL, 3), np.uint8)] * (columns - len(cells))
            stripes.append(np.hstack(cells))
    written, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(stripes), cv2.COLOR_RGB2BGR))
    if not written:
        raise StorageFault("The contact sheet could not be encoded.")
    return bytes(data)


def _cell(item: Item) -> NDArray[np.uint8]:
    cell = np.empty((_CELL, _CELL, 3), np.uint8)
    cell[:] = SPLIT_COLORS[item.split]
    cell[_FRAME:-_FRAME, _FRAME:-_FRAME] = thumbnail(item, size_px=_CELL - 2 * _FRAME)
    return cell


def _title(text: str, columns: int) -> NDArray[np.uint8]:
    import cv2

    stripe = np.zeros((_TITLE, _CELL * columns, 3), np.uint8)
    shown = text.encode("ascii", "replace").decode()
    cv2.putText(stripe, shown, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1)
    return stripe


def _legend(columns: int) -> NDArray[np.uint8]:
    import cv2

    stripe = np.zeros((_TITLE, _CELL * columns, 3), np.uint8)
    for at, (split, color) in enumerate(SPLIT_COLORS.items()):
        left = 6 + at * _CELL
        cv2.rectangle(stripe, (left, 7), (left + 14, 19), color, -1)
        place = (left + 20, 18)
        cv2.putText(stripe, split.value, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1)
    return stripe
