"""Asks a terminal, before a full screen opens on it, what pictures it can show.

DA1, which every terminal since the VT100 answers, goes last of the questions: when its answer is
there, no other is to come. The answers are taken from the terminal before anybody
else reads it. Questions and answers: xterm's ctlseqs (DA1, XTSMGRAPHICS, window operations 14 and
16) and kitty's graphics protocol.
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

from edgeinspect.terminal.graphics import MOST_COLORS, Graphics, GraphicsKind

TIMEOUT_S = 0.5
PATIENT_TIMEOUT_S = 5.0
"""For whoever asked for pictures by name: they may sit behind a slow line."""
_KITTY_ID = 0x6569
_QUESTIONS = (
    f"\x1b_Gi={_KITTY_ID},s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"  # kitty: would you take this picture?
    "\x1b[14t\x1b[16t"  # text area, one character, in pixels
    "\r\x1b[K"  # away with what a terminal printed that knows no such questions
    "\x1b[c"  # DA1
).encode("ascii")
_HOW_MANY_COLORS = b"\x1b[?1;1;0S\x1b[c"  # only for who draws sixels: to others S scrolls
_DA1 = re.compile(rb"\x1b\[\?(\d+)([;\d]*)c")  # kitty: ESC [ ? 62 ; c
_KITTY_OK = re.compile(rb"\x1b_Gi=%d;OK\x1b\\" % _KITTY_ID)
_COLORS = re.compile(rb"\x1b\[\?1;0;(\d{1,6})S")
_AREA = re.compile(rb"\x1b\[4;(\d{1,6});(\d{1,6})t")
_CELL = re.compile(rb"\x1b\[6;(\d{1,4});(\d{1,4})t")
_SIXEL = b"4"
_SANE_CELL_PX = range(4, 129)


class GraphicsChoice(StrEnum):
    """How the user wants pictures to be drawn."""

    AUTO = "auto"
    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Asked:
    """The terminal's answers.

    Attributes:
        is_answered: nothing that was asked can still be answered.
    """

    graphics: Graphics
    is_answered: bool = True


def ask_terminal(
    choice: GraphicsChoice, *, fd: int, environment: Mapping[str, str] = os.environ
) -> Asked:
    """What to draw with on the terminal behind ``fd``.

    AUTO trusts only what the terminal says within half a second, and takes half blocks inside tmux
    and screen, which would have to pass the pictures on. A named kind is taken at its word; the
    terminal is then asked for its sizes only, and is given longer. Keys that are pressed meanwhile
    are lost.
    """
    if choice is GraphicsChoice.BLOCKS or not os.isatty(fd):
        return Asked(Graphics())
    if choice is GraphicsChoice.AUTO and is_multiplexed(environment):
        return Asked(Graphics())
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
    return Asked(graphics, is_answered)


def is_multiplexed(environment: Mapping[str, str]) -> bool:
    """Inside tmux or GNU screen."""
    term = environment.get("TERM", "")
    return "TMUX" in environment or "STY" in environment or term.startswith(("tmux", "screen"))


def graphics_of(
    answer: bytes, choice: GraphicsChoice, *, window: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Graphics:
    """What the answers say; nothing is believed that is not in them.

    Args:
        window: rows, columns, width and height in pixels as the kernel has them, 0 if not known.
    """
    cell = _cell(answer, window)
    kind = _kind(answer, choice, has_cell=cell is not None)
    if kind is GraphicsKind.BLOCKS:
        return Graphics()
    colors = _COLORS.search(answer)
    most = int(colors[1]) if colors and int(colors[1]) >= 2 else MOST_COLORS
    width, height = cell or (Graphics().cell_width_px, Graphics().cell_height_px)
    return Graphics(
        kind=kind, cell_width_px=width, cell_height_px=height, colors=min(most, MOST_COLORS)
    )


def _kind(answer: bytes, choice: GraphicsChoice, *, has_cell: bool) -> GraphicsKind:
    if choice is not GraphicsChoice.AUTO:
        return GraphicsKind(choice.value)
    attributes = _DA1.search(answer)
    if attributes is None:
        return GraphicsKind.BLOCKS
    if _KITTY_OK.search(answer):
        return GraphicsKind.KITTY
    # Sixels are as large as their pixels: without the size of a character they would not fit.
    is_sixel = has_cell and _SIXEL in attributes[2].split(b";")
    return GraphicsKind.SIXEL if is_sixel else GraphicsKind.BLOCKS


def _cell(answer: bytes, window: tuple[int, int, int, int]) -> tuple[int, int] | None:
    """Width and height of a character in pixels, from the first that knows a sane one."""
    rows, columns, width, height = window
    found = []
    if said := _CELL.search(answer):
        found.append((int(said[2]), int(said[1])))
    if rows and columns:
        found.append((width // columns, height // rows))
        if said := _AREA.search(answer):
            found.append((int(said[2]) // columns, int(said[1]) // rows))
    return next((cell for cell in found if all(side in _SANE_CELL_PX for side in cell)), None)


def _window(fd: int) -> tuple[int, int, int, int]:
    try:
        size = fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return 0, 0, 0, 0
    rows, columns, width, height = struct.unpack("HHHH", size)
    return rows, columns, width, height


def _converse(fd: int, questions: bytes, deadline_s: float) -> bytes:
    """Ask, and read until DA1 is answered or time is up."""
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
    """The terminal echoes nothing and gives every character at once; Ctrl-C still works."""
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
