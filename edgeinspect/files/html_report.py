"""Reports as single HTML files, made from Jinja2 templates.

A template lies beside the module that fills it and has the same name. It extends ``report.html``,
which holds the style sheet. Jinja2 escapes every value, and no Python code writes HTML, so that
text from outside can never become part of a page's structure. A report prints well: the browser's
"Save as PDF" puts it on paper.
"""

from __future__ import annotations

import base64
import functools
import importlib.resources
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jinja2 import Environment

COLORS = {"good": "#3c8d4a", "warn": "#b7791f", "bad": "#c8464f"}
"""The colours of the three grades, which templates know as ``colors``."""


def render(template: str, **values: object) -> bytes:
    """Fill a template and return the page.

    Args:
        template: where it lies, from the package on: "edgeinspect/study/study_report.html".
        values: what the template shows. A name that it uses and does not get is an error.
    """
    return template_environment().get_template(template).render(values).encode()


def picture_url(pixels: NDArray[np.uint8], *, width_px: int, suffix: str = ".png") -> str:
    """Scale a grey or RGB picture to a width and return it as a ``data:`` URL."""
    import cv2

    height_px = max(1, round(pixels.shape[0] * width_px / pixels.shape[1]))
    small = cv2.resize(pixels, (width_px, height_px), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85] if suffix == ".jpeg" else []
    return data_url(cv2.imencode(suffix, small, quality)[1].tobytes(), suffix=suffix)


def data_url(data: bytes, *, suffix: str = ".png") -> str:
    """An encoded picture as a URL that carries it."""
    return f"data:image/{suffix[1:]};base64,{base64.b64encode(data).decode()}"


@functools.cache
def template_environment() -> Environment:
    """Return the environment that finds the packages' templates and escapes every value."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["colors"] = COLORS
    return environment


def _source(template: str) -> str:
    folder, _, name = template.rpartition("/")
    return (importlib.resources.files(folder.replace("/", ".")) / name).read_text("utf-8")
