"""docs/security.md: every provision of EN 303 645 has one answer, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "docs" / "security.md").read_text()
PROVISIONS = {
    "4": 1, "5.1": 5, "5.2": 3, "5.3": 16, "5.4": 4, "5.5": 8, "5.6": 9, "5.7": 2, "5.8": 3,
    "5.9": 3, "5.10": 1, "5.11": 4, "5.12": 3, "5.13": 1, "6": 5,
}  # fmt: skip
"""How many each clause of V2.1.1 has."""
ANSWERS = ("Yes", "By design", "Not shown", "No", "–")
NAMED_TEST = re.compile(r"`([a-z_/]+\.py)::(\w+)`")


def rows() -> dict[str, tuple[str, str]]:
    """For each provision its answer and what stands behind it."""
    found: dict[str, tuple[str, str]] = {}
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"\d(\.\d+)?-\d+", cells[0]):
            assert cells[0] not in found, cells[0]
            assert len(cells) == 4, line
            found[cells[0]] = (cells[2], cells[3])
    return found


def test_every_provision_has_one_answer() -> None:
    expected = {f"{clause}-{n + 1}" for clause, count in PROVISIONS.items() for n in range(count)}
    answers = rows()
    assert answers.keys() == expected
    assert len(answers) == 68
    for provision, (answer, how) in answers.items():
        assert answer.partition(",")[0] in ANSWERS, provision
        assert how, provision


def test_what_is_shown_names_its_test() -> None:
    for provision, (answer, how) in rows().items():
        refers_to_another_row = how.startswith(("the same", "this table"))
        if answer.startswith("Yes"):
            assert NAMED_TEST.search(how) or refers_to_another_row, provision


def test_every_test_that_is_named_exists() -> None:
    named = set(NAMED_TEST.findall(TEXT))
    assert len(named) > 30
    for file, name in sorted(named):
        path = REPOSITORY / file
        assert path.is_file(), file
        functions = {
            node.name for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
        }  # fmt: skip
        assert name in functions, f"{file}::{name}"
