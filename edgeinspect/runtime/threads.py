"""A thread whose death does not go unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Callable

OnDeath = Callable[[str, BaseException], None]
"""Called in the dying thread with its name and what killed it."""


class StationThread:
    """Runs ``target`` once; an exception that leaves it is kept and reported at once."""

    def __init__(self, name: str, target: Callable[[], None], on_death: OnDeath) -> None:
        self.name = name
        self.error: BaseException | None = None
        self._target = target
        self._on_death = on_death
        # A daemon, so that a thread stuck in a driver cannot keep a stopped station alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def start(self) -> None:
        """Start the thread."""
        self._started = True
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False if the thread still runs then."""
        if self._started:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._target()
        except BaseException as error:  # noqa: BLE001  whatever it is, the station must know
            self.error = error
            self._on_death(self.name, error)
