"""Pictures of the tuning screen on terminals that have graphics: what is sent, and what is not.

The terminal is the test's own end of a pseudo-terminal. It answers, late or not at all, as real
ones do; everything that the program writes is read back.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual._xterm_parser import XTermParser
from textual.events import Key
from textual.message import Message

from edgeinspect.screens.tune.late_answers import AnswerFilter
from tests.helpers.answering_terminal import AnsweringTerminal
from tests.helpers.terminal import DEADLINE_S
from tests.helpers.terminal_kinds import KITTY, XTERM, read_kitty, read_sixels
from tests.helpers.vt340 import VT340, VT340_COLORS

PROGRAM = "tests.helpers.tune_screen_program"
SIXEL = re.compile(rb"\x1b7\x1b\[(\d+);(\d+)H(\x1bP0;1;0q[^\x1b]*\x1b\\)\x1b8")
KITTY_SHOWN = re.compile(rb"\x1b7\x1b\[(\d+);(\d+)H((?:\x1b_G[^\x1b]*\x1b\\)+)\x1b8")
KITTY_FORGOTTEN = re.compile(rb"\x1b_Ga=d,d=I,i=(\d+),q=2\x1b\\")
FORGET_ALL_SHOWN = b"\x1b_Ga=d,d=A,q=2\x1b\\"
FIRST_ID = 0x65690001
PLACES = [1, 17, 33, 49, 65]


class Screen(AnsweringTerminal):
    """The tuning screen's program."""

    def __init__(self, folder: Path, *, answers: dict[bytes, bytes], options: str = "auto") -> None:
        super().__init__([sys.executable, "-m", PROGRAM, str(folder), options], answers=answers)

    def wait_for_places(self, shown: re.Pattern[bytes], *, since: int = 0) -> int:
        """Until each of the five pictures has been shown after ``since``, some maybe twice."""
        found: list[tuple[bytes, bytes, bytes]] = []
        while {int(x) for _, x, _ in found} != set(PLACES):
            self.wait_for(shown, times=len(found) + 1, since=since)
            found = shown.findall(self.output, since)
        return len(self.output)

    def quiet(self) -> int:
        """Until everything is shown that is being drawn: a key's echo comes after it."""
        since = len(self.output)
        self.press(b"l")
        since = self.wait_for(re.compile(rb"(Standing still|Following the line)"), since=since)
        self.press(b"l")
        return self.wait_for(re.compile(rb"(Standing still|Following the line)"), since=since)

    def end(self) -> int:
        self.press(b"q")
        while self.read(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


def open_screen(
    screens: list[Screen], folder: Path, answers: dict[bytes, bytes], options: str = "auto"
) -> Screen:
    screens.append(Screen(folder, answers=answers, options=options))
    return screens[-1]


def test_kitty_shows_moves_and_forgets_pictures(screens: list[Screen], tmp_path: Path) -> None:
    screen = open_screen(screens, tmp_path, {b"\x1b[K\x1b[c": KITTY})
    screen.wait_for_places(KITTY_SHOWN)
    opened = screen.quiet()
    shown = KITTY_SHOWN.findall(screen.output)
    assert sorted({int(x) for _, x, _ in shown}) == PLACES
    assert {int(y) for y, _, _ in shown} == {17}, "the first of five lines above the captions"
    for _, x, command in shown:
        keys, pixels = read_kitty(command.decode())
        assert int(keys["i"]) == FIRST_ID + PLACES.index(int(x))
        assert (keys["c"], keys["r"], pixels.shape) == ("15", "5", (100, 135, 4))
        assert len(command) < 24 * 1024 + 200

    screen.press(b"?")
    under = screen.wait_for(b"next or previous class", since=opened)
    said = screen.output[opened:under]
    assert FORGET_ALL_SHOWN in said
    assert not KITTY_SHOWN.search(said), "no picture over a dialog"
    screen.press(b"\x1b[27u")
    screen.wait_for_places(KITTY_SHOWN, since=under)

    since = screen.quiet()
    screen.press(b"\r")
    close = screen.wait_for(
        re.compile(rb"i=%d[^\x1b]*m=0;[^\x1b]*\x1b" % (FIRST_ID - 1)), since=since
    )
    _, _, command = KITTY_SHOWN.findall(screen.output[:close], since)[-1]
    keys, _ = read_kitty(command.decode())
    assert (int(keys["i"]), keys["c"], keys["r"]) == (FIRST_ID - 1, "72", "18")
    screen.press(b"q")
    forgotten = b"\x1b_Ga=d,d=I,i=%d," % (FIRST_ID - 1)
    back = screen.wait_for(forgotten, since=close)
    screen.wait_for_places(KITTY_SHOWN, since=back)
    assert screen.end() == 0
    left = screen.output.rindex(b"\x1b[?1049l")
    assert [int(n) for n in KITTY_FORGOTTEN.findall(screen.output, left)] == [
        FIRST_ID - 1,
        *range(FIRST_ID, FIRST_ID + 5),
    ]


def test_sixels_are_sent_once_and_again_only_after_something_covered_them(
    screens: list[Screen], tmp_path: Path
) -> None:
    answers = {b"\x1b[K\x1b[c": VT340, b"\x1b[?1;1;0S\x1b[c": VT340_COLORS}
    screen = open_screen(screens, tmp_path, answers)
    screen.wait_for_places(SIXEL)
    opened = screen.quiet()
    shown = SIXEL.findall(screen.output)
    assert {int(x) for _, x, _ in shown} == set(PLACES)
    for y, _, data in shown:
        assert int(y) == 17
        height, width, _ = read_sixels(data.decode()).shape
        assert 0 < width <= 150
        assert 0 < height <= 96, "whole bands within five lines of 20 pixels"
    counts = re.compile(rb"0\.580")
    screen.press(b"<")
    moved = screen.wait_for(counts, since=opened)
    said = screen.output[opened : screen.quiet()]
    places = [int(x) for _, x, _ in SIXEL.findall(said)]
    assert len(places) == len(set(places)), "each place at most once for a key"
    before = len(screen.output)
    screen.press(b"g")
    screen.wait_for(b"is labelled good", since=before)
    screen.quiet()
    assert not SIXEL.search(screen.output, before), "a label changes captions, not pictures"
    assert moved > opened
    before = len(screen.output)
    screen.press(b"?")
    covered = screen.wait_for(b"next or previous class", since=before)
    assert not SIXEL.search(screen.output, before)
    screen.press(b"q")
    screen.wait_for(SIXEL, since=covered)  # the one part that the draft flips
    assert screen.end() == 0
    assert b"\x1b_Ga=d" not in screen.output


@pytest.mark.parametrize(
    ("answers", "options"),
    [
        ({b"\x1b[K\x1b[c": XTERM}, "auto"),
        ({b"\x1b[K\x1b[c": b"\x1b[?ab\xff\x1b_G;;\x1b\\\x1b[6;x;t\x1b[?1;2c"}, "auto"),
        ({b"\x1b[K\x1b[c": KITTY}, "blocks"),
    ],
)
def test_half_blocks_where_the_terminal_has_nothing_better(
    screens: list[Screen], tmp_path: Path, answers: dict[bytes, bytes], options: str
) -> None:
    screen = open_screen(screens, tmp_path, answers, options)
    screen.wait_for("▀".encode(), times=5)
    screen.quiet()
    assert screen.end() == 0
    assert b"\x1bP" not in screen.output
    assert b"a=T" not in screen.output
    assert (b"\x1b[16t" in screen.output) is (options != "blocks"), "blocks asks nothing"
    assert done(tmp_path) == []


@pytest.mark.parametrize("late", [KITTY, VT340])
@pytest.mark.parametrize("cuts", [1, 3, 7, 1000])
def test_late_answers_are_no_keys(late: bytes, cuts: int) -> None:
    """As textual's own parser hands them on, in pieces or at once, with keys around."""
    parser = XTermParser()
    events: list[Message] = []
    text = late.decode()
    for piece in ("a", *(text[at : at + cuts] for at in range(0, len(text), cuts)), "l"):
        events += parser.feed(piece)
    time_out(parser, events)
    events += parser.feed("\x1b[B")
    answers = AnswerFilter()
    keys = [event for event in events if isinstance(event, Key)]
    assert len(keys) > 10, "textual knows these answers by now: the filter can go"
    left = [event.key for event in keys if not answers.takes(event)]
    assert left == ["a", "l", "down"]


def time_out(parser: XTermParser, events: list[Message]) -> None:
    """Half a sequence is held back for a tenth of a second."""
    deadline = time.monotonic() + DEADLINE_S
    while not any(isinstance(event, Key) and event.key == "l" for event in events):
        assert time.monotonic() < deadline
        events += parser.tick()


def test_a_screen_that_opened_without_answers_filters_them(
    screens: list[Screen], tmp_path: Path
) -> None:
    screen = open_screen(screens, tmp_path, {b"cover revision 1": VT340 + KITTY})
    screen.wait_for("▀".encode(), times=5)
    screen.quiet()
    assert done(tmp_path) == []
    assert b"next or previous class" not in screen.output, "? would have opened the help"
    assert screen.end() == 0


def test_who_names_kitty_gets_it_without_an_answer_in_half_a_second(
    screens: list[Screen], tmp_path: Path
) -> None:
    screen = open_screen(screens, tmp_path, {b"\x1b[K\x1b[c": b"\x1b[?62;c"}, "kitty")
    screen.wait_for_places(KITTY_SHOWN)
    assert screen.end() == 0


def done(folder: Path) -> list[str]:
    """What keys did to the station behind the screen: nothing, if none were pressed."""
    file = folder / "done"
    return file.read_text().splitlines() if file.exists() else []
