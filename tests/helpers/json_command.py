"""Runs ``edgeinspect`` in this process and reads its JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application


def json_of(
    capture: pytest.CaptureFixture[str], *arguments: object, expect: int = 0
) -> dict[str, Any]:
    """Run a command with ``--json``, check its exit code, and return its last line's object."""
    words = [*map(str, arguments), "--json"]
    code = run_command_line(application, program="edgeinspect", arguments=words)
    printed = capture.readouterr()
    assert code == expect, printed.err
    found: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
    return found
