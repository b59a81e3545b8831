"""A docstring with a section ``Args:`` describes every parameter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "edgeinspect"
SECTION = re.compile(r"^Args:\n((?: .*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    \**(\w+): ", re.MULTILINE)


def undescribed(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each parameter that its function's ``Args:`` leaves out."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef):
            continue
        section = SECTION.search((ast.get_docstring(node) or "") + "\n")
        if section is not None:
            described = {"self", "cls", *ENTRY.findall(section[1])}
            named = [
                each.arg for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)
            ]
            yield from ((node.lineno, name) for name in named if name not in described)


def test_every_parameter_is_described() -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in undescribed(path.read_text())
    ]
    assert missing == []


def test_a_parameter_without_description_is_found() -> None:
    source = 'def f(a, *, b):\n    """Do it.\n\n    Args:\n        a: first.\n    """\n'
    assert list(undescribed(source)) == [(1, "b")]
