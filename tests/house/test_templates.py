"""HTML is written in templates only, which escape every value and go into the packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import edgeinspect
import edgeinspect_tools
from edgeinspect.files import html_report

ROOTS = [Path(str(package.__file__)).parent for package in (edgeinspect, edgeinspect_tools)]
PROJECT = Path(edgeinspect.__file__).parents[1]
TEMPLATES = [(root, path) for root in ROOTS for path in sorted(root.rglob("*.html"))]
NAMES = [str(path.relative_to(root.parent)) for root, path in TEMPLATES]


@pytest.mark.parametrize(("root", "path"), TEMPLATES, ids=NAMES)
def test_every_template_escapes_and_can_be_read(root: Path, path: Path) -> None:
    assert not re.search(r"\|\s*safe\b|autoescape", path.read_text())
    name = path.relative_to(root.parent).as_posix()
    assert html_report.template_environment().get_template(name).name == name


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_no_code_writes_html(root: Path) -> None:
    for path in root.rglob("*.py"):
        written = re.search(r"Markup\(|html import escape|html\.escape|</\w+>", path.read_text())
        assert not written, f"{path}: {written}"


def test_the_packages_contain_their_templates() -> None:
    files = [PROJECT / "pyproject.toml", PROJECT / "tools" / "pyproject.toml"]
    projects = [tomllib.loads(path.read_text()) for path in files if path.exists()]
    data: dict[str, list[str]] = {}
    for project in projects:
        data |= project["tool"].get("setuptools", {}).get("package-data", {})
    for root, path in TEMPLATES:
        assert any(path.relative_to(root).match(glob) for glob in data[root.name]), path
