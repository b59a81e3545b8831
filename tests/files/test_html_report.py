"""Reports: nothing from outside becomes HTML, and a template gets all that it shows."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from jinja2 import DictLoader, UndefinedError

from edgeinspect.files import html_report
from edgeinspect.files.html_report import picture_url, render

PAGE = """{% extends "edgeinspect/files/report.html" %}{% set title = "Report on " ~ name %}
{% macro row(name) %}<td title="{{ name }}">{{ name }}</td>{% endmacro %}
{% block body %}{{ row(name) }}{% set kept %}{{ name }}{% endset %}{{ kept }}{% endblock %}"""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    base = (Path(html_report.__file__).parent / "report.html").read_text()
    sources = DictLoader({"page": PAGE, "edgeinspect/files/report.html": base})
    environment = html_report.template_environment().overlay(loader=sources)
    monkeypatch.setattr(html_report, "template_environment", lambda: environment)


@pytest.mark.usefixtures("page")
def test_a_hostile_name_stays_text_in_title_macro_attribute_and_block() -> None:
    made = render("page", name="""\"'><script>alert(1)</script>&{{ 7 * 7 }}""").decode()
    assert "<script>" not in made and "49" not in made
    escaped = "&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;{{ 7 * 7 }}"
    assert made.count(f"Report on {escaped}") == 2
    assert f'<td title="{escaped}">{escaped}</td>{escaped}' in made


@pytest.mark.usefixtures("page")
def test_what_a_template_does_not_get_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render("page")


def test_a_page_needs_nothing_else_and_begins_as_html(page: None) -> None:
    made = render("page", name="x")
    assert made.startswith(b"<!doctype html>") and not re.search(rb"https?:|<link|<script", made)


def test_a_template_that_does_not_exist_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        render("edgeinspect/files/nothing.html")


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
@pytest.mark.parametrize("shape", [(30, 60), (30, 60, 3)])
def test_a_picture_keeps_its_colours_and_proportions(suffix: str, shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 40, np.uint8)
    if len(shape) == 3:
        pixels[..., 0] = 200  # red
    head, _, data = picture_url(pixels, width_px=20, suffix=suffix).partition(",")
    assert head == f"data:image/{suffix[1:]};base64"
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.shape[:2] == (10, 20)
    expected = [40, 40, 200] if len(shape) == 3 else 40
    assert np.abs(shown.astype(int) - expected).max() <= 3
