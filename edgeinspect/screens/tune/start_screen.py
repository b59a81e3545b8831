"""Starts the full-screen tuning program."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinspect.errors import UsageError

if TYPE_CHECKING:
    from edgeinspect.screens.tune.follow import Follower
    from edgeinspect.screens.tune.source import TuneSource
    from edgeinspect.settings.station_file import StationFile

_NICE = 10
"""The station, on the same few cores, always comes first."""

_STDERR = 2


def run(
    station: StationFile, *, author: str | None = None, is_live: bool = True, graphics: str = "auto"
) -> int:
    """Show the screen until the technician leaves; returns the exit code.

    Args:
        station: The station whose recipe is tuned.
        author: of labels and revisions; None takes the login name.
        is_live: Follow the running line from the start.
        graphics: auto, kitty, sixel or blocks: how pictures are drawn.

    Raises:
        UsageError: there is no terminal to show it on.
        ConfigError, ModelRefused: the station file, its recipe or its bundle is wrong.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The tuning screen works only in a terminal.",
            next_action="In scripts use: edgeinspect tune what-if, edgeinspect recipe apply.",
        )
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    from edgeinspect.screens.tune.draft_thresholds import draft_path
    from edgeinspect.screens.tune.follow import Follower
    from edgeinspect.screens.tune.source import StationSource
    from edgeinspect.settings.author import login_name

    source = StationSource(station, author=author or login_name())
    try:
        return show(
            source,
            draft_file=draft_path(*source.draft_key),
            follower=Follower(source.station.watch_path, source.station.socket_path),
            is_live=is_live,
            graphics=graphics,
        )
    finally:
        source.close()


def show(
    source: TuneSource,
    *,
    draft_file: Path,
    follower: Follower | None,
    is_live: bool,
    graphics: str,
) -> int:
    """The screen on the terminal behind stdin, with the pictures that it has; the exit code."""
    from edgeinspect.screens.tune.late_answers import LateAnswersDriver
    from edgeinspect.screens.tune.tune_screen import HUNG_UP, TuneApp
    from edgeinspect.terminal import kitty
    from edgeinspect.terminal.ask import GraphicsChoice, ask_terminal
    from edgeinspect.terminal.graphics import GraphicsKind

    in_force = source.in_force()
    asked = ask_terminal(GraphicsChoice(graphics), fd=sys.stdin.fileno())
    app = TuneApp(
        source,
        in_force,
        draft_file=draft_file,
        follower=follower,
        is_live=is_live,
        graphics=asked.graphics,
        driver_class=None if asked.is_answered else LateAnswersDriver,
    )
    with _only_the_screen_writes():
        code = app.run()
    if asked.graphics.kind is GraphicsKind.KITTY and code != HUNG_UP:
        sys.stdout.write(kitty.forget(app.image_ids))
        sys.stdout.flush()
    return 0 if code is None else code


@contextlib.contextmanager
def _only_the_screen_writes() -> Iterator[None]:
    """The model's library writes to descriptor 2, in the midst of the screen: not now.

    textual, which draws by way of ``sys.__stderr__``, gets its own descriptor.
    """
    before = sys.__stderr__
    screen = os.fdopen(os.dup(_STDERR), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    setattr(sys, "__stderr__", screen)  # noqa: B010  # declared final
    try:
        yield
    finally:
        setattr(sys, "__stderr__", before)  # noqa: B010
        os.dup2(screen.fileno(), _STDERR)
        with contextlib.suppress(OSError):  # the connection has broken
            screen.close()
