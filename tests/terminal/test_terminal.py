"""The terminal of the tests shows whole frames alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.terminal import Terminal

_PROGRAM = r"""
import os, sys, tty

tty.setraw(0)

def write(text):
    os.write(1, text.encode())

write("\x1b[?2026$p")
answer = b""
while not answer.endswith(b"y"):
    answer += os.read(0, 1)
write(f"asked {answer[1:].decode()} ")
os.read(0, 1)
write("\x1b[?2026hhalf ")
os.read(0, 1)
write("whole\x1b[?20")
os.read(0, 1)
write("26l then ")
os.read(0, 1)
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal([sys.executable, "-c", _PROGRAM], environment=dict(os.environ))
    try:
        yield opened
    finally:
        opened.close()


def test_a_frame_is_seen_when_it_is_whole(terminal: Terminal) -> None:
    terminal.wait_for("asked [?2026;2$y")
    terminal.press(" ")
    with pytest.raises(AssertionError, match="half"):
        terminal.wait_for("half", deadline_s=0.5)
    terminal.press(" ")
    with pytest.raises(AssertionError, match="whole"):
        terminal.wait_for("whole", deadline_s=0.5)
    terminal.press(" ")
    assert "half whole then" in terminal.wait_for("then")
    assert terminal.frames == 1
