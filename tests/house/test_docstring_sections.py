"""The API reference reads every docstring as its author meant it.

griffe, which the site uses, parses the sections of Google style and reports what it cannot read:
an entry for a parameter that does not exist, two parameters in one entry, a line without a name.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="griffe is installed with the extra docs")

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_YET = ("edgeinspect/bundle/pipeline.py",)
"""Files with docstrings that still need work."""


def parse_all() -> None:
    paths = [str(REPOSITORY), str(REPOSITORY / "tools")]
    loader = griffe.GriffeLoader(search_paths=paths)
    waiting = [loader.load("edgeinspect"), loader.load("edgeinspect_tools")]
    while waiting:
        found = waiting.pop()
        if found.docstring is not None:
            found.docstring.parse("google")
        waiting += [member for member in found.members.values() if not member.is_alias]


def test_every_section_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse_all()
    warnings = [record.getMessage() for record in caplog.records]
    assert [text for text in warnings if not any(name in text for name in NOT_YET)] == []
    done = [name for name in NOT_YET if not any(name in text for text in warnings)]
    assert not done, f"take {done} out of NOT_YET"
