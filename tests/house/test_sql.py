"""SQL lives in the room ``records`` alone: the others call its functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import edgeinspect
import edgeinspect_tools

STATION = Path(edgeinspect.__file__).parent
TOOLS = Path(edgeinspect_tools.__file__).parent
SQL = re.compile(
    r"\b(SELECT\s|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TEMP )?(TABLE|INDEX|VIEW)|PRAGMA"
    r"|ALTER TABLE|DROP TABLE|(LEFT )?JOIN \w|ORDER BY|GROUP BY|IS (NOT )?NULL|BEGIN IMMEDIATE)"
)


def modules_outside_records() -> Iterator[tuple[Path, ast.Module]]:
    for path in (*STATION.rglob("*.py"), *TOOLS.rglob("*.py")):
        if STATION / "records" not in path.parents:
            yield path, ast.parse(path.read_text())


def test_only_records_imports_a_database_library() -> None:
    for path, tree in modules_outside_records():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert "sqlite3" not in [alias.name for alias in node.names], path
            if isinstance(node, ast.ImportFrom):
                assert node.module != "sqlite3", path


def test_only_records_holds_sql_text() -> None:
    for path, tree in modules_outside_records():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not SQL.search(node.value), f"{path}:{node.lineno}: {node.value[:80]}"


def test_the_search_finds_the_sql_of_records() -> None:
    texts = [path.read_text() for path in (STATION / "records").glob("*.py")]
    assert sum(bool(SQL.search(text)) for text in texts) > 10
