"""docs/security.md: every provision of EN 303 645 has one answer, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
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


def attacks() -> list[list[str]]:
    """The rows of what was attacked: attack, what happened, what holds it, what shows it."""
    section = TEXT.split("## Attacks and defences\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_attack_names_what_holds_it_and_the_test_that_shows_it() -> None:
    rows_of_attacks = attacks()
    assert len(rows_of_attacks) > 20
    for row in rows_of_attacks:
        assert len(row) == 4, row
        assert all(row[index] for index in (0, 2)), row
        assert NAMED_TEST.search(row[3]), row[0]


def test_every_program_of_the_image_stands_in_the_table_of_what_runs_as_root() -> None:
    section = TEXT.split("### Programs that run as root\n")[1].split("\n### ")[0]
    common = REPOSITORY / "image" / "common"
    programs = {path.name for path in (common / "bin").iterdir()} - {"places"}
    programs |= {path.name for path in (REPOSITORY / "image/rpi").rglob("usr/lib/edgeinspect/*")}
    assert len(programs) > 8
    assert {name for name in programs if f"`{name}`" not in section} == set()
    for unit in (common / "systemd").glob("*.service"):
        text = unit.read_text()
        assert not re.search(r"^Exec\w+=[-@:!|]*\+", text, re.MULTILINE), unit.name
        # systemd gives such a folder to the unit's user, and root keeps its own in this one
        assert not re.search(r"^RuntimeDirectory=edgeinspect$", text, re.MULTILINE), unit.name
    for rules in (common / "udev").glob("*.rules"):
        assert not re.search(r"\b(RUN|PROGRAM|IMPORT)\b", rules.read_text()), rules.name


def test_no_script_of_roots_changes_owners_or_rights_of_a_tree() -> None:
    scripts = [*(REPOSITORY / "image/common/bin").iterdir(), REPOSITORY / "image/install.sh"]
    for script in scripts:
        text = "\n".join(line.partition(" #")[0] for line in script.read_text().splitlines())
        assert not re.search(r"ch(own|mod|grp)\s+(-\w*R|--recursive)", text), script.name
        # what find reaches is root's own tree, as it is named
        for found in re.findall(r"find\s+(\S+)[^|;]*-exec", text):
            assert found == '"$DATA/system/etc/"', script.name
