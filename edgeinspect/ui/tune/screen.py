"""Starts the full-screen tuning program."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from edgeinspect.errors import UsageError

_NICE = 10
"""The station, on the same few cores, always comes first."""


def run(config: Path, *, author: str | None = None, is_live: bool = True) -> int:
    """Show the screen until the technician leaves; returns the exit code.

    Args:
        config: the station file.
        author: of labels and revisions; None takes the login name.

    Raises:
        UsageError: there is no terminal to show it on.
        ConfigError, ModelRefused: the station file, its recipe or its bundle is wrong.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The tuning screen needs a terminal.",
            next_action="Scripts use: edgeinspect tune what-if, edgeinspect recipe apply.",
        )
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    from edgeinspect.settings.author import login_name
    from edgeinspect.ui.tune.app import TuneApp
    from edgeinspect.ui.tune.draft import draft_path
    from edgeinspect.ui.tune.follow import Follower
    from edgeinspect.ui.tune.source import StationSource

    source = StationSource(config, author=author or login_name())
    try:
        app = TuneApp(
            source,
            source.in_force(),
            draft_file=draft_path(*source.draft_key),
            follower=Follower(source.station.socket_path),
            is_live=is_live,
        )
        code = app.run()
    finally:
        source.close()
    return 0 if code is None else code
