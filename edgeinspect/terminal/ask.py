"""Asks a terminal which pictures it can show, before a full screen opens on it.

The last question is DA1, which every terminal since the VT100 answers: once its answer has come, no
other will follow. All answers are read here, before anything else reads from the terminal. The
questions and answers are in xterm's ctlseqs (DA1, XTSMGRAPHICS, window operations 14 and 16) and in
kitty's graphics protocol.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from edgeinspect.terminal.graphics import MAX_COLORS, Graphics, GraphicsKind

TIMEOUT_S = 0.5
PATIENT_TIMEOUT_S = 5.0
"""For a user who named a kind of picture, and who may be on a slow connection."""
_KITTY_ID = 0x6569
_QUESTIONS = (
    f"\x1b_Gi={_KITTY_ID},s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"  # kitty: would you show this picture?
    "\x1b[14t\x1b[16t"  # text area, one character, in pixels
    "\r\x1b[K"  # erases what a terminal printed that does not know these questions
    "\x1b[c"  # DA1
).encode("ascii")
_HOW_MANY_COLORS = b"\x1b[?1;1;0S\x1b[c"  # only for terminals that draw sixels; others scroll on S
_DA1 = re.compile(rb"\x1b\[\?(\d+)([;\d]*)c")  # kitty: ESC [ ? 62 ; c
_KITTY_OK = re.compile(rb"\x1b_Gi=%d;OK\x1b\\" % _KITTY_ID)
_COLORS = re.compile(rb"\x1b\[\?1;0;(\d{1,6})S")
_AREA = re.compile(rb"\x1b\[4;(\d{1,6});(\d{1,6})t")
_CELL = re.compile(rb"\x1b\[6;(\d{1,4});(\d{1,4})t")
_SIXEL = b"4"
_SANE_CELL_PX = range(4, 129)


class GraphicsChoice(StrEnum):
    """Which kind of picture the user asked for; AUTO leaves it to the terminal."""

    AUTO = "auto"
    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class TerminalAnswer:
    """What a terminal can show.

    Attributes:
        graphics: the kind of picture and its sizes.
        is_answered: every answer has come; otherwise one may still arrive later.
    """

    graphics: Graphics
    is_answered: bool = True


def ask_terminal(
    choice: GraphicsChoice, *, fd: int, environment: Mapping[str, str] = os.environ
) -> TerminalAnswer:
    """Find out how to draw on the terminal behind ``fd``.

    AUTO relies only on what the terminal answers within half a second. Inside tmux and screen,
    which would have to pass pictures on, it takes half blocks. A kind that the user named is used
    without a check; the terminal then only gives its sizes, and has more time. Keys that are
    pressed during this time are lost.
    """
    if choice is GraphicsChoice.BLOCKS or not os.isatty(fd):
        return TerminalAnswer(Graphics())
    if choice is GraphicsChoice.AUTO and is_multiplexed(environment):
        return TerminalAnswer(Graphics())
    patience_s = TIMEOUT_S if choice is GraphicsChoice.AUTO else PATIENT_TIMEOUT_S
    with _quiet(fd):
        deadline_s = time.monotonic() + patience_s
        answer = _converse(fd, _QUESTIONS, deadline_s)
        is_answered = bool(_DA1.search(answer))
        graphics = graphics_of(answer, choice, window=_window(fd))
        if is_answered and graphics.kind is GraphicsKind.SIXEL:
            more = _converse(fd, _HOW_MANY_COLORS, deadline_s)
            is_answered = bool(_DA1.search(more))
            graphics = graphics_of(answer + more, choice, window=_window(fd))
    return TerminalAnswer(graphics, is_answered)


def is_multiplexed(environment: Mapping[str, str]) -> bool:
    """Whether the program runs inside tmux or GNU screen."""
    term = environment.get("TERM", "")
    return "TMUX" in environment or "STY" in environment or term.startswith(("tmux", "screen"))


def graphics_of(
    answer: bytes, choice: GraphicsChoice, *, window: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Graphics:
    """Read a terminal's answers; nothing is assumed beyond them.

    Args:
        answer: everything that the terminal sent.
        choice: what the user asked for.
        window: rows, columns, width and height in pixels as the kernel knows them; 0 if it does
            not.
    """
    cell = _cell(answer, window)
    kind = _kind(answer, choice, has_cell=cell is not None)
    if kind is GraphicsKind.BLOCKS:
        return Graphics()
    colors = _COLORS.search(answer)
    registers = int(colors[1]) if colors and int(colors[1]) >= 2 else MAX_COLORS
    width, height = cell or (Graphics().cell_width_px, Graphics().cell_height_px)
    return Graphics(
        kind=kind, cell_width_px=width, cell_height_px=height, colors=min(registers, MAX_COLORS)
    )


def _kind(answer: bytes, choice: GraphicsChoice, *, has_cell: bool) -> GraphicsKind:
    if choice is not GraphicsChoice.AUTO:
        return GraphicsKind(choice.value)
    attributes = _DA1.search(answer)
    if attributes is None:
        return GraphicsKind.BLOCKS
    if _KITTY_OK.search(answer):
        return GraphicsKind.KITTY
    # A sixel picture has a fixed size in pixels: without the size of a character it may not fit.
    is_sixel = has_cell and _SIXEL in attributes[2].split(b";")
    return GraphicsKind.SIXEL if is_sixel else GraphicsKind.BLOCKS


def _cell(answer: bytes, window: tuple[int, int, int, int]) -> tuple[int, int] | None:
    """Width and height of a character in pixels, from the first source with a plausible size."""
    rows, columns, width, height = window
    found = []
    if cell := _CELL.search(answer):
        found.append((int(cell[2]), int(cell[1])))
    if rows and columns:
        found.append((width // columns, height // rows))
        if area := _AREA.search(answer):
            found.append((int(area[2]) // columns, int(area[1]) // rows))
    return next((size for size in found if all(side in _SANE_CELL_PX for side in size)), None)


def _window(fd: int) -> tuple[int, int, int, int]:
    try:
        size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return 0, 0, 0, 0
    rows, columns, width, height = struct.unpack("HHHH", size)
    return rows, columns, width, height


def _converse(fd: int, questions: bytes, deadline_s: float) -> bytes:
    """Ask, and read until DA1 is answered or the time is up."""
    answer = b""
    os.write(fd, questions)
    while not _DA1.search(answer):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
            break
        piece = os.read(fd, 4096)
        if not piece:
            break
        answer += piece
    return answer


@contextmanager
def _quiet(fd: int) -> Iterator[None]:
    """Turn off echo and line buffering; Ctrl-C still works."""
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
