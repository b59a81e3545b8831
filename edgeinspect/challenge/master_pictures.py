"""What the station saw of each master: the stored pictures, prepared for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import EdgeInspectError
from edgeinspect.files.html_report import picture_url
from edgeinspect.records.reader import RecordReader

_SHOWN_PX = 320
Pictures = Mapping[int, NDArray[np.uint8]]
"""Pixels by part id, as ``RecordReader.picture`` returns them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterPicture:
    """One master's picture on the page.

    Attributes:
        result: the master's entry in the challenge's record.
        url: the pixels, scaled down.
        width_px: width of the stored picture, in which the record's regions are given.
        height_px: its height.
        shown_px: the largest width on the page.
        line_px: how thick regions are drawn, in pixels of the stored picture.
    """

    result: Mapping[str, Any]
    url: str
    width_px: int
    height_px: int
    shown_px: int
    line_px: float


def stored_pictures(data_dir: Path, record: Mapping[str, Any]) -> dict[int, NDArray[np.uint8]]:
    """Read the masters' pictures that are still kept: all rejects and a sample of the passes."""
    found: dict[int, NDArray[np.uint8]] = {}
    try:
        with RecordReader(data_dir) as reader:
            for result in record["results"]:
                part = reader.part(int(result["part_id"]))
                if part is not None and part.image is not None:
                    found[part.record.part_id] = reader.picture(part)
    except EdgeInspectError:
        return found  # the page stands without them
    return found


def master_picture(result: Mapping[str, Any], pixels: NDArray[np.uint8]) -> MasterPicture:
    """Prepare one master's picture for the page."""
    height_px, width_px = pixels.shape[:2]
    return MasterPicture(
        result=result,
        url=picture_url(pixels, width_px=min(width_px, 2 * _SHOWN_PX), suffix=".jpeg"),
        width_px=width_px,
        height_px=height_px,
        shown_px=_SHOWN_PX,
        line_px=round(max(2.0, width_px / 200), 1),
    )
