"""Slow work of the tuning screen, in threads; results come back on the screen's own thread."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from textual.app import App

from edgeinspect.errors import EdgeInspectError

Result = TypeVar("Result")


class BackgroundTasks:
    """Starts tasks by name and knows which of them are running.

    Each task ends by itself, so one that fails says nothing about another.

    Args:
        on_error: Called on the screen's thread with the sentence of a task that failed.
    """

    def __init__(self, app: App[Any], *, on_error: Callable[[str], object]) -> None:
        self._app = app
        self._on_error = on_error
        self._running: Counter[str] = Counter()
        self._turns: dict[str, threading.Lock] = {}

    def is_running(self, task: str) -> bool:
        """Whether a task of this name has been started and has not ended."""
        return self._running[task] > 0

    def start(
        self,
        task: str,
        work: Callable[[], Result],
        then: Callable[[Result], object],
        *,
        after: str | None = None,
    ) -> None:
        """Do ``work`` in a thread, and ``then`` on the screen's thread.

        Args:
            task: The name of the task.
            work: The function that runs in the thread.
            then: The function that gets its result on the screen's thread.
            after: Take turns with the tasks of this name too; tasks of one name always do.
        """
        turn = self._turns.setdefault(after or task, threading.Lock())
        self._running[task] += 1

        def job() -> None:
            try:
                with turn:
                    result = work()
            except EdgeInspectError as error:
                self._end(task, partial(self._on_error, str(error)))
            else:
                self._end(task, partial(then, result))

        self._app.run_worker(job, thread=True, group=task, exit_on_error=True)

    def _end(self, task: str, show: Callable[[], object]) -> None:
        def ended() -> None:
            self._running[task] -= 1
            show()

        with suppress(RuntimeError):  # the screen was closed
            self._app.call_from_thread(ended)
