"""One thread that reads all lines whose edges the kernel stamps, and reports edges in order.

With one thread per line, edges would be reported in the order in which the threads get a processor;
on a busy machine that differs from the order of events by tens of milliseconds. Each line still has
its own buffer in the kernel, so that an encoder cannot push out a trigger's edges.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

Told = tuple[int, Callable[[], None]]
"""The kernel's stamp of an edge (mono ns), and the call that reports it."""


class EdgeSource(Protocol):
    """A line that has been requested.

    Attributes:
        read_last: read this line after the others. It counts the positions of their edges, so every
            count that came before an edge is reported before it.
    """

    read_last: bool

    def fileno(self) -> int:
        """Return the file descriptor to wait on."""

    def read(self) -> Sequence[Told]:
        """What the kernel holds for the line; called when there is something. Raises OSError."""

    def fail(self, error: OSError | None) -> None:
        """The line can no longer be read; None: its chip was removed."""


class EdgeReader:
    """The reader of all lines of this process. Its thread lives as long as one of them does."""

    def __init__(self, *, patience_s: float = 2.0) -> None:
        """Make a reader; its thread starts with the first line.

        Args:
            patience_s: how long ``remove`` waits for a listener that does not return.
        """
        self._patience_s = patience_s
        self._changing = threading.Condition()
        self._sources: dict[int, EdgeSource] = {}
        self._round = 0
        self._telling = False
        self._thread: threading.Thread | None = None
        self._wake_reader, self._wake_writer = -1, -1

    def add(self, source: EdgeSource) -> None:
        """Read this line from now on. Raises OSError."""
        with self._changing:
            if self._thread is not None:
                self._sources[source.fileno()] = source
                self._wake()
                return
            self._wake_reader, self._wake_writer = os.pipe()
            os.set_blocking(self._wake_writer, False)
            self._sources[source.fileno()] = source
            self._thread = threading.Thread(target=self._run, name="gpio-edges", daemon=True)
            self._thread.start()

    def remove(self, source: EdgeSource) -> bool:
        """Stop reporting this line. False: a listener hangs, so the line is still in use."""
        with self._changing:
            self._sources = {fd: each for fd, each in self._sources.items() if each is not source}
            if self._thread is None or self._thread is threading.current_thread():
                return True
            self._wake()
            this = self._round
            return self._changing.wait_for(
                lambda: not self._telling or self._round > this, self._patience_s
            )

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"x")

    def _run(self) -> None:
        while True:
            with self._changing:
                if not self._sources:
                    os.close(self._wake_reader)
                    os.close(self._wake_writer)
                    self._thread = None
                    return
                sources = dict(self._sources)
            self._read_one_round(sources)

    def _read_one_round(self, sources: dict[int, EdgeSource]) -> None:
        ready = self._wait(sources)
        with self._changing:
            self._telling = True
            here = self._sources
            sources = {fd: each for fd, each in sources.items() if here.get(fd) is each}
        try:
            edges = self._read(sources, ready)
            for _, report, source in edges:
                if source in self._sources.values():
                    report()
        finally:
            with self._changing:
                self._telling = False
                self._round += 1
                self._changing.notify_all()

    def _wait(self, sources: dict[int, EdgeSource]) -> dict[int, int]:
        poller = select.poll()
        for fd in (*sources, self._wake_reader):
            poller.register(fd, select.POLLIN)
        ready = dict(poller.poll())
        if ready.pop(self._wake_reader, 0):
            os.read(self._wake_reader, 4096)
        return ready

    def _read(
        self, sources: dict[int, EdgeSource], ready: dict[int, int]
    ) -> list[tuple[int, Callable[[], None], EdgeSource]]:
        """Everything that the kernel holds, in the order of its stamps."""
        edges: list[tuple[int, Callable[[], None], EdgeSource]] = []
        for last in (False, True):
            chosen = {fd: each for fd, each in sources.items() if each.read_last is last}
            if last and chosen and ready:
                ready = {**ready, **_ready_now(chosen)}
            for fd, source in chosen.items():
                reported = self._read_source(source, ready[fd]) if ready.get(fd) else ()
                edges += [(at_mono_ns, report, source) for at_mono_ns, report in reported]
        return sorted(edges, key=lambda edge: edge[0])

    def _read_source(self, source: EdgeSource, state: int) -> Sequence[Told]:
        try:
            if state & select.POLLIN:
                return source.read()
            error = None
        except OSError as failure:
            error = failure
        with self._changing:
            self._sources = {fd: each for fd, each in self._sources.items() if each is not source}
        source.fail(error)
        return ()


def _ready_now(sources: dict[int, EdgeSource]) -> dict[int, int]:
    poller = select.poll()
    for fd in sources:
        poller.register(fd, select.POLLIN)
    return dict(poller.poll(0))


reader = EdgeReader()
"""All lines of this process are read by this one."""
