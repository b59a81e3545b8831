"""What every output line does, whichever library drives it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from typing_extensions import override

from edgeinspect.errors import UsageError
from edgeinspect.ports import Output


class DrivenOutput(Output):
    """An output that was requested at its safe level; see ``edgeinspect.ports.Output``.

    Threads take turns. Whatever happens, the line is driven to its safe level before it is
    released, and never driven after that.
    """

    def __init__(
        self, name: str, *, drive: Callable[[bool], None], release: Callable[[], None]
    ) -> None:
        """Take over a line that is at its safe level.

        Args:
            name: of the line, for people.
            drive: sets the line; raises LineFault.
            release: gives the line back; raises nothing.
        """
        self._name = name
        self._drive = drive
        self._release = release
        self._lock = threading.Lock()
        self._closed = False

    @override
    def drive(self, active: bool) -> None:
        with self._lock:
            if self._closed:
                raise UsageError(f"The closed output {self._name} was driven.")
            self._drive(active)

    @override
    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._drive(False)
            finally:
                self._release()
