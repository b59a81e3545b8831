"""A picture among a command's lines: sixels, kitty's pictures, or half blocks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import numpy as np
import pyte
import pytest

from tests.helpers.answering_terminal import AnsweringTerminal
from tests.helpers.terminal_kinds import KITTY, XTERM, read_kitty, read_sixels
from tests.helpers.vt340 import VT340, VT340_COLORS

PROGRAM = """
import sys, numpy as np
from edgeinspect.terminal.picture_printer import PicturePrinter

printer = PicturePrinter(sys.argv[1])
picture = np.zeros((60, 120), np.uint8)
picture[:, 60:] = 255
for number in range(2):
    print("before", flush=True)
    printer.show(picture, columns=int(sys.argv[2]))
    print("typed", input("question "), flush=True)
"""
SIXEL_ANSWERS = {b"\x1b[K\x1b[c": VT340, b"\x1b[?1;1;0S\x1b[c": VT340_COLORS}
DRAWN = re.compile(rb"(\n|\r\n)+\x1b\[(\d+)A\x1b7(.*?)\x1b8\x1b\[(\d+)B\r", re.DOTALL)


@pytest.fixture
def terminals() -> Iterator[list[AnsweringTerminal]]:
    opened: list[AnsweringTerminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def start(
    terminals: list[AnsweringTerminal],
    answers: dict[bytes, bytes],
    *,
    choice: str = "auto",
    columns: int = 40,
) -> AnsweringTerminal:
    command = [sys.executable, "-c", PROGRAM, choice, str(columns)]
    terminals.append(AnsweringTerminal(command, answers=answers))
    return terminals[-1]


def answer_both(terminal: AnsweringTerminal) -> None:
    for number in (1, 2):
        terminal.wait_for(b"question ", times=number)
        terminal.press(b"g\n")
        terminal.wait_for(b"typed g", times=number)


def test_sixels_of_the_pictures_own_shape(terminals: list[AnsweringTerminal]) -> None:
    terminal = start(terminals, SIXEL_ANSWERS)
    answer_both(terminal)
    drawn = DRAWN.findall(terminal.output)
    assert len(drawn) == 2
    for _, up, command, down in drawn:
        assert up == down == b"10", "400 x 200 px in cells of 10 x 20 px"
        pixels = read_sixels(command.decode())
        assert pixels.shape[1] == 396, "as wide as 198 px high allow: whole bands of six"
        seen = pixels[(pixels >= 0).all(axis=2)].reshape(-1, 3)
        assert np.array_equal(np.unique(seen, axis=0), [[0, 0, 0], [100, 100, 100]])


def test_kitty_keeps_the_pictures_apart(terminals: list[AnsweringTerminal]) -> None:
    terminal = start(terminals, {b"\x1b[K\x1b[c": KITTY})
    answer_both(terminal)
    found = [read_kitty(command.decode()) for _, _, command, _ in DRAWN.findall(terminal.output)]
    assert len(found) == 2
    assert len({keys["i"] for keys, _ in found}) == 2
    for keys, pixels in found:
        assert (keys["c"], keys["r"]) == ("40", "9"), "180 px in rows of 20 px"
        assert pixels[90, :170, :3].max() == 0
        assert pixels[90, 190:360, :3].min() == 255


@pytest.mark.parametrize(("answers", "choice"), [({b"\x1b[c": XTERM}, "auto"), ({}, "blocks")])
def test_half_blocks_elsewhere(
    terminals: list[AnsweringTerminal], answers: dict[bytes, bytes], choice: str
) -> None:
    terminal = start(terminals, answers, choice=choice)
    answer_both(terminal)
    assert not DRAWN.search(terminal.output)
    assert terminal.output.count("▀".encode()) == 2 * 40 * 10


def test_no_higher_than_the_terminal(terminals: list[AnsweringTerminal]) -> None:
    terminal = start(terminals, {}, choice="blocks", columns=80)
    answer_both(terminal)
    assert terminal.output.count("▀".encode()) == 2 * 80 * 20
    tall = start(terminals, SIXEL_ANSWERS, columns=200)
    answer_both(tall)
    assert [up for _, up, _, _ in DRAWN.findall(tall.output)] == [b"20", b"20"]


def test_a_late_answer_is_no_answer_to_the_question(terminals: list[AnsweringTerminal]) -> None:
    """Nothing within half a second; the terminal's words come while the picture is drawn."""
    terminal = start(terminals, {b"before": XTERM})
    answer_both(terminal)
    screen = pyte.Screen(80, 60)
    pyte.ByteStream(screen).feed(terminal.output)
    assert sum("typed g" in line for line in screen.display) == 2
