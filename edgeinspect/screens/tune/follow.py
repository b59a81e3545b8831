"""Follows a running station's events in its own thread, and reconnects after an interruption."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeinspect.control.client import ControlClient
from edgeinspect.errors import EdgeInspectError

_RETRY_S = 2.0


class Follower:
    """The events of a running station; read the attributes from any thread.

    Attributes:
        last_part: a sentence about the newest part, "" before the first.
    """

    def __init__(self, *sockets: Path) -> None:
        """Prepare to follow a station; ``start`` begins.

        Args:
            sockets: the station's sockets; the first that answers is used.
        """
        self._sockets = sockets
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._recipe = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tune-follow", daemon=True)
        self.last_part = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Return at once; the thread ends with its connection, or with the program."""
        self._stopping.set()

    def take_news(self) -> bool:
        """Whether a part came since this was last asked."""
        had = self._news.is_set()
        self._news.clear()
        return had

    def take_recipe(self) -> bool:
        """Whether another recipe came into force since this was last asked."""
        had = self._recipe.is_set()
        self._recipe.clear()
        return had

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with ControlClient.to_watch(*self._sockets) as client:
                    for event in client.events():
                        if self._stopping.is_set():
                            return
                        self.take(event)
            except EdgeInspectError:
                self._stopping.wait(_RETRY_S)

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of docs/reference/control-socket.md."""
        kind = event.get("event")
        if kind == "part":
            score = event.get("score")
            shown = f" {score:.3f}" if isinstance(score, int | float) and score else ""
            reason = str(event.get("reason", "")).replace("_", " ")
            verdict = str(event.get("verdict", "")).replace("_", " ")
            words = f"part {event.get('part_id')} {verdict} {reason}".strip()
            self.last_part = words + shown
            self._news.set()
        elif kind == "missed":
            self._news.set()
        elif kind == "recipe":
            self._recipe.set()
