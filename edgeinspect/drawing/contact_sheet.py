"""Draws one part on one sheet: the camera's picture, the score map, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.drawing.canvas import Rgb, outline, overlay, score_colors, scores_on_frame, to_rgb
from edgeinspect.part import PartRecord, Region, ScoreMap, VerdictKind

_PANEL_HEIGHT_PX = 480
_MAX_PANEL_WIDTH_PX = 900
_MIN_WIDTH_PX = 720
_HEAD_PX, _FOOT_PX, _GAP_PX = 64, 64, 12
_PAPER = (24, 26, 30)
_INK, _DIM = (235, 235, 235), (150, 155, 165)
VERDICT_RGB = {
    VerdictKind.PASS: (90, 200, 120),
    VerdictKind.REJECT: (255, 95, 85),
    VerdictKind.REVIEW: (250, 200, 80),
    VerdictKind.CANNOT_INSPECT: (205, 130, 255),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Thresholds in [0, 1] of the class that decided, for the legend."""

    review: float
    reject: float


def part_sheet(
    record: PartRecord,
    pixels: NDArray[np.uint8],
    *,
    score_map: ScoreMap | None = None,
    threshold: Threshold | None = None,
    notes: Sequence[str] = (),
) -> Rgb:
    """Draw a part.

    Args:
        record: what was recorded of the part.
        pixels: the stored picture, uint8 (height, width) or (height, width, 3) RGB.
        score_map: laid over the second panel; without it the panel shows the worst region only.
        threshold: marked on the legend.
        notes: more text for the second line of the heading.
    """
    color = VERDICT_RGB[record.verdict.kind]
    worst = record.inspection.worst_region if record.inspection is not None else None
    seen = _scaled(to_rgb(pixels))
    factor = seen.shape[1] / pixels.shape[1]
    judged = seen
    if score_map is not None:
        scores = scores_on_frame(score_map, height=pixels.shape[0], width=pixels.shape[1])
        size = (seen.shape[1], seen.shape[0])
        stretched = cv2.resize(scores, size, interpolation=cv2.INTER_NEAREST)
        judged = overlay(seen, np.asarray(stretched, np.float32))
    seen, judged = seen.copy(), judged.copy()
    if worst is not None and max(worst.width, worst.height) * 5 < max(pixels.shape[:2]):
        _magnify(seen, to_rgb(pixels), worst, factor)
    if worst is not None and (score_map is not None or record.verdict.kind != VerdictKind.PASS):
        outline(judged, _scale_box(worst, factor), color)
    height, width = seen.shape[:2]
    full_width = max(_MIN_WIDTH_PX, 2 * width + 3 * _GAP_PX)
    sheet = np.full((_HEAD_PX + height + _FOOT_PX, full_width, 3), _PAPER, np.uint8)
    sheet[_HEAD_PX : _HEAD_PX + height, _GAP_PX : _GAP_PX + width] = seen
    right = 2 * _GAP_PX + width
    sheet[_HEAD_PX : _HEAD_PX + height, right : right + width] = judged
    _head(sheet, record, notes)
    _write(sheet, "camera", (_GAP_PX, _HEAD_PX + height + 22), 0.5, _DIM)
    words = "score map" if score_map is not None else "worst region"
    _write(sheet, words, (right, _HEAD_PX + height + 22), 0.5, _DIM)
    if score_map is not None:
        _legend(sheet, left=right + 110, top=_HEAD_PX + height + 12, threshold=threshold)
    return sheet


def save_png(picture: Rgb) -> bytes:
    """Encode an RGB picture as PNG."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError("the picture cannot be encoded as PNG")
    return data.tobytes()


def _magnify(panel: Rgb, picture: Rgb, box: Region, factor: float) -> None:
    """Show a small region enlarged, in the corner of the panel that is farthest from it."""
    side = max(24, 2 * max(box.width, box.height))
    height, width = picture.shape[:2]
    left = min(max(0, box.x + box.width // 2 - side // 2), max(0, width - side))
    top = min(max(0, box.y + box.height // 2 - side // 2), max(0, height - side))
    cut = picture[top : top + side, left : left + side]
    size = panel.shape[0] // 3
    large = cv2.resize(cut, (size, size), interpolation=cv2.INTER_NEAREST)
    x = 0 if left + side / 2 > width / 2 else panel.shape[1] - size
    y = 0 if top + side / 2 > height / 2 else panel.shape[0] - size
    panel[y : y + size, x : x + size] = large
    cv2.rectangle(panel, (x, y), (x + size - 1, y + size - 1), _INK, 1)
    outline(panel, _scale_box(Region(left, top, side, side), factor), _INK, margin_px=0)


def _head(sheet: Rgb, record: PartRecord, notes: Sequence[str]) -> None:
    verdict = record.verdict
    color = VERDICT_RGB[verdict.kind]
    title = verdict.kind.value + (f"  {verdict.reason}" if verdict.reason else "")
    end = _write(sheet, title, (_GAP_PX, 28), 0.8, color, thickness=2)
    if verdict.kind is not VerdictKind.CANNOT_INSPECT:
        end = _write(sheet, f"score {verdict.score:.3f}", (end + 24, 28), 0.6, _INK)
    _write(sheet, f"part {record.part_id}", (end + 24, 28), 0.6, _INK)
    outcome = record.gate_outcome.value.replace("_", " ")
    line = "   ".join(word for word in (f"gate: {outcome}", verdict.detail, *notes) if word)
    _write(sheet, line, (_GAP_PX, 52), 0.45, _DIM)


def _legend(sheet: Rgb, *, left: int, top: int, threshold: Threshold | None) -> None:
    """Draw the colour of every score and mark the thresholds."""
    width, height = min(256, sheet.shape[1] - left - 2 * _GAP_PX), 14
    if width < 64:
        return
    at = np.linspace(0, 255, width).astype(int)
    sheet[top : top + height, left : left + width] = score_colors()[at][None]
    _write(sheet, "0", (left - 14, top + 12), 0.42, _DIM)
    _write(sheet, "1", (left + width + 5, top + 12), 0.42, _DIM)
    if threshold is None:
        return
    for name, value, shift in (("review", threshold.review, -46), ("reject", threshold.reject, 2)):
        x = left + round(value * (width - 1))
        cv2.line(sheet, (x, top - 3), (x, top + height + 3), _INK, 1)
        _write(sheet, name, (x + shift, top + height + 17), 0.42, _DIM)


def _write(
    sheet: Rgb,
    words: str,
    place: tuple[int, int],
    size: float,
    color: tuple[int, int, int],
    *,
    thickness: int = 1,
) -> int:
    """Write ASCII text with its baseline at ``place``; returns where it ends."""
    shown = words.encode("ascii", "replace").decode()
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(sheet, shown, place, font, size, color, thickness, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(shown, font, size, thickness)
    return int(place[0] + width)


def _scaled(picture: Rgb) -> Rgb:
    height, width = picture.shape[:2]
    factor = min(_PANEL_HEIGHT_PX / height, _MAX_PANEL_WIDTH_PX / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _scale_box(box: Region, factor: float) -> Region:
    return Region(*(round(side * factor) for side in box))
