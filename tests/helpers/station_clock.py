"""Time for a station's threads in tests: it passes only while all of them wait.

The threads are real, but they take turns. One thread runs until it waits; then the one that has
waited longest for something that has happened by now goes on. If there is none, the clock jumps to
the next time that any of them waits for. So the outcome depends on the test alone, however slow the
machine is, and a second of the station takes some milliseconds.

The test's own thread takes turns with the others: the station does nothing, and no time passes,
until the test waits, in ``StationClock.wait_until`` or in one of the station's own methods.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import queue
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from unittest import mock

from typing_extensions import override

from edgeinspect.ports import Clock

T = TypeVar("T")

LOOK_NS = 1_000
"""Each look at the clock takes this long, so that a thread that waits awake gets there."""
LONGEST_S = 600.0
"""How long the station has for what a test waits for, in its own time."""
_STUCK_S = 240.0
"""A wait of the test that takes so much real time, even on a loaded machine, never ends."""
_NEVER_NS = sys.maxsize
_STEP_NS = 5_000_000
"""How finely the station's time follows the real one in ``passing``."""


class _TestHasEnded(BaseException):
    """Ends a thread that a test has left behind."""


@dataclass(eq=False)
class _Turn:
    """A thread that waits for its turn: until something is true, or until a time."""

    is_ready: Callable[[], bool]
    until_mono_ns: int
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def is_due(self, now_mono_ns: int) -> bool:
        return now_mono_ns >= self.until_mono_ns or self.is_ready()


def _at_once() -> _Turn:
    return _Turn(lambda: True, 0)


class StationClock(Clock):
    """The clock of a station under test, which also decides which of its threads runs.

    ``in_charge`` makes the station's threads wait through it.
    """

    def __init__(self) -> None:
        self._now_mono_ns = 1_000_000_000
        self._lock = threading.RLock()
        self._turns: list[_Turn] = []
        self._test_thread = threading.current_thread()
        self._members = {self._test_thread}
        self._somebody_runs = True
        self._is_passing = False
        self._has_ended = False

    @override
    def now_mono_ns(self) -> int:
        self._now_mono_ns += LOOK_NS
        return self._now_mono_ns

    @override
    def now_wall(self) -> datetime.datetime:
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    @override
    def is_synchronized(self) -> bool:
        return False

    @contextlib.contextmanager
    def in_charge(self, *rooms: str) -> Iterator[StationClock]:
        """Make everything that waits in these modules wait through this clock.

        A module gets stand-ins for ``threading``, ``queue`` and ``time``, as it has imported them.
        What it has made before keeps the real ones.

        Args:
            rooms: the beginnings of the modules' names.
        """
        make_queue = functools.partial(SimpleQueue, self)
        stand_ins = (
            ("threading", threading, self._threading()),
            ("queue", queue, types.SimpleNamespace(SimpleQueue=make_queue, Empty=queue.Empty)),
            ("SimpleQueue", queue.SimpleQueue, make_queue),
            ("time", time, self._time()),
        )
        modules = [module for name, module in sys.modules.items() if name.startswith(rooms)]
        with contextlib.ExitStack() as patches:
            for module in modules:
                for name, original, stand_in in stand_ins:
                    if getattr(module, name, None) is original:
                        patches.enter_context(mock.patch.object(module, name, stand_in))
            yield self

    def _threading(self) -> types.SimpleNamespace:
        own: dict[str, object] = {
            "Thread": functools.partial(Thread, self),
            "Event": self.event,
            "Condition": functools.partial(Condition, self),
            "RLock": functools.partial(RLock, self),
        }
        return types.SimpleNamespace(**{**vars(threading), **own})

    def _time(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            sleep=lambda seconds: self.wait(lambda: False, seconds),
            monotonic=lambda: self.now_mono_ns() / 1e9,
            monotonic_ns=self.now_mono_ns,
        )

    # --- for tests --------------------------------------------------------------------------------

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let the station run until this holds; fail if it never does."""
        self.wait(condition, LONGEST_S)
        assert condition(), f"not within {LONGEST_S:g} s of the station's time"

    def sleep_until(self, mono_ns: int) -> None:
        """Let the other threads run until then."""
        self._wait(lambda: False, mono_ns)

    def event(self) -> Event:
        """Return an event that one of the station's threads can wait for."""
        return Event(self)

    def thread(self, target: Callable[[], object]) -> Thread:
        """Return a thread that takes turns with those of the station."""
        return Thread(self, target=target, daemon=True)

    def end(self) -> None:
        """End the threads that still wait; the test is over."""
        with self._lock:
            self._has_ended = True
            for turn in self._turns:
                turn.go.release()
            self._turns.clear()

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """Let time pass, no faster than in reality, while the test waits for something outside."""
        me = threading.current_thread()
        self._is_passing = True
        self.leave(me)
        try:
            yield
        finally:
            turn = _at_once()
            self.enter(me, turn)
            self.wait_for(turn)
            self._is_passing = False

    def at_one_moment(self, do: Callable[[], T]) -> T:
        """Do something while no other thread runs, in whatever thread this is."""
        if threading.current_thread() in self._members:
            return do()
        self._visit(_at_once())
        try:
            return do()
        finally:
            self._pass_on()

    # --- taking turns -----------------------------------------------------------------------------

    def wait(self, is_ready: Callable[[], bool], timeout_s: float | None) -> None:
        """Let the other threads run until this is true, or for so long; None: however long."""
        duration_ns = _NEVER_NS if timeout_s is None else int(timeout_s * 1e9)
        self._wait(is_ready, min(self._now_mono_ns + duration_ns, _NEVER_NS))

    def enter(self, thread: threading.Thread, turn: _Turn) -> None:
        """Let another thread take turns."""
        with self._lock:
            self._members.add(thread)
            self._queue_up(turn)

    def wait_for(self, turn: _Turn) -> None:
        """Wait until it is this thread's turn."""
        timeout_s = _STUCK_S if threading.current_thread() is self._test_thread else None
        if not turn.go.acquire(timeout=timeout_s):
            raise RuntimeError("A thread waits for something outside the station's clock.")
        if self._has_ended:
            raise _TestHasEnded

    def leave(self, thread: threading.Thread) -> None:
        """Let the others run without this thread, which had the turn."""
        self._members.discard(thread)
        self._pass_on()

    def _wait(self, is_ready: Callable[[], bool], until_mono_ns: int) -> None:
        turn = _Turn(is_ready, until_mono_ns)
        if threading.current_thread() in self._members:
            with self._lock:
                self._turns.append(turn)
            self._pass_on()
            self.wait_for(turn)
        else:
            self._visit(turn)
            self._pass_on()  # what else such a thread waits for is not known

    def _visit(self, turn: _Turn) -> None:
        """Take one turn in a thread that is no member, such as that of a server."""
        self._queue_up(turn)
        self.wait_for(turn)

    def _queue_up(self, turn: _Turn) -> None:
        with self._lock:
            self._turns.append(turn)
            nobody_runs, self._somebody_runs = not self._somebody_runs, True
        if nobody_runs:
            self._pass_on()

    def _pass_on(self) -> None:
        """Let the next thread run; if all wait for a later time, let that come."""
        while not self._somebody_goes_on():
            if self._is_passing:
                time.sleep(_STEP_NS / 1e9)

    def _somebody_goes_on(self) -> bool:
        """Let a thread run if there is one that can; else let some time pass."""
        with self._lock:
            due = next((turn for turn in self._turns if turn.is_due(self._now_mono_ns)), None)
            next_mono_ns = min((turn.until_mono_ns for turn in self._turns), default=_NEVER_NS)
            self._somebody_runs = due is not None or next_mono_ns < _NEVER_NS
            if due is not None:
                self._turns.remove(due)
                due.go.release()
            elif self._is_passing:
                self._now_mono_ns = min(next_mono_ns, self._now_mono_ns + _STEP_NS)
            elif self._somebody_runs:
                self._now_mono_ns = next_mono_ns
            return due is not None or not self._somebody_runs


class Thread(threading.Thread):
    """A thread that takes turns."""

    def __init__(self, clock: StationClock, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._first_turn = _at_once()
        self._has_ended = False

    @override
    def start(self) -> None:
        self._clock.enter(self, self._first_turn)
        super().start()

    @override
    def run(self) -> None:
        with contextlib.suppress(_TestHasEnded):
            self._clock.wait_for(self._first_turn)
            try:
                super().run()
            finally:
                self._has_ended = True
                self._clock.leave(self)

    @override
    def is_alive(self) -> bool:
        return super().is_alive() and not self._has_ended

    @override
    def join(self, timeout: float | None = None) -> None:
        self._clock.wait(lambda: not self.is_alive(), timeout)


class Event(threading.Event):
    """An event that is waited for in turns."""

    def __init__(self, clock: StationClock) -> None:
        super().__init__()
        self._clock = clock

    @override
    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._clock.wait(self.is_set, timeout)
        return self.is_set()


class Condition(threading.Condition):
    """A condition that is waited for in turns."""

    def __init__(self, clock: StationClock, lock: Any = None) -> None:
        super().__init__(lock)
        self._clock = clock
        self._asleep: deque[threading.Event] = deque()

    @override
    def wait(self, timeout: float | None = None) -> bool:
        notified = threading.Event()
        self._asleep.append(notified)
        self.release()
        self._clock.wait(notified.is_set, timeout)
        self.acquire()
        if not notified.is_set():
            self._asleep.remove(notified)
        return notified.is_set()

    @override
    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._asleep))):
            self._asleep.popleft().set()

    @override
    def notify_all(self) -> None:
        self.notify(len(self._asleep))


class RLock:
    """A lock that may be held while its owner waits for other things in turns."""

    def __init__(self, clock: StationClock) -> None:
        self._clock = clock
        self._lock = threading.RLock()

    def acquire(self, *, timeout: float = LONGEST_S) -> bool:
        due_mono_ns = self._clock.now_mono_ns() + int(timeout * 1e9)
        while not self._lock.acquire(blocking=False):
            if self._clock.now_mono_ns() > due_mono_ns:
                return False
            self._clock.wait(lambda: False, 0.001)
        return True

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        assert self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class SimpleQueue(Generic[T]):
    """A queue that is waited for in turns."""

    def __init__(self, clock: StationClock) -> None:
        self._clock = clock
        self._items: deque[T] = deque()

    def qsize(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        self._items.append(item)

    def get(self, *, timeout: float | None = None) -> T:
        if not self._items:
            self._clock.wait(lambda: bool(self._items), timeout)
        return self.get_nowait()

    def get_nowait(self) -> T:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()
