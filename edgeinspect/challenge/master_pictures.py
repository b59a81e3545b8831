"""What the station saw of each master: its stored picture with the worst and the expected place."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import EdgeInspectError
from edgeinspect.files.html_report import BAD_COLOR, GOOD_COLOR
from edgeinspect.records.reader import RecordReader

_WIDTH_PX = 320
Pictures = Mapping[int, NDArray[np.uint8]]
"""Pixels by part id, as ``RecordReader.picture`` gives them."""


def stored_pictures(data_dir: Path, record: Mapping[str, Any]) -> dict[int, NDArray[np.uint8]]:
    """The masters' pictures that are still kept: rejects are, passes are sampled."""
    found: dict[int, NDArray[np.uint8]] = {}
    try:
        with RecordReader(data_dir) as reader:
            for result in record["results"]:
                part = reader.part(int(result["part_id"]))
                if part is not None and part.image is not None:
                    found[part.record.part_id] = reader.picture(part)
    except EdgeInspectError:
        return found  # the page is as good without them
    return found


def figure(result: Mapping[str, Any], pixels: NDArray[np.uint8]) -> str:
    """One master's picture; the expected place dashed, the worst spot drawn through."""
    height, width = pixels.shape[:2]
    shapes = [
        f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,{_jpeg(pixels)}"/>'
    ]
    for key, color, dash in (
        ("expected_region", GOOD_COLOR, ' stroke-dasharray="8 5"'),
        ("worst_region", BAD_COLOR, ""),
    ):
        region = result[key]
        if region is not None:
            shapes.append(
                f'<rect x="{int(region["x"])}" y="{int(region["y"])}" fill="none" '
                f'width="{int(region["width"])}" height="{int(region["height"])}" '
                f'stroke="{color}" stroke-width="{max(2.0, width / 200):.1f}"{dash}/>'
            )
    caption = escape(f"master {result['master']}: {result['verdict']} {result['reason']}".rstrip())
    return (
        f'<figure style="max-width:{_WIDTH_PX}px"><svg viewBox="0 0 {width} {height}" width="100%" '
        f'role="img" aria-label="{caption}">{"".join(shapes)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    import cv2

    scale = min(1.0, 2 * _WIDTH_PX / pixels.shape[1])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return base64.b64encode(data).decode()
