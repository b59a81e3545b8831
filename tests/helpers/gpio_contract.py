"""What every io driver must do, run against the fake chip and, in the virtual machine, for real.

A subclass ``TestX(GpioContract)`` gives the fixture ``bench``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from edgeinspect.errors import LineFault, UsageError
from edgeinspect.hw.registry import IoModule
from edgeinspect.settings.wiring import Active, EncoderLine, InputLine, Io, OutputLine

PATIENCE_S = 60.0
LINE = 17
OTHER_LINE = 5
KINDS = ("edge", "level", "encoder", "output")


class Bench(Protocol):
    """A chip with wires whose other ends are in the test's hands.

    Attributes:
        numbers_edges: the driver notices edges that were lost.
        knows_names: the driver finds lines by the chip's own names.
    """

    io: Io
    numbers_edges: bool
    knows_names: bool

    @property
    def module(self) -> IoModule: ...

    def pull(self, offset: int, high: bool) -> None: ...
    def level(self, offset: int) -> bool: ...
    def unplug(self) -> None: ...
    def held_by_another(self, offset: int) -> contextlib.AbstractContextManager[str]: ...
    def without_rights(self) -> contextlib.AbstractContextManager[None]: ...
    def without_chip(self) -> contextlib.AbstractContextManager[Io]: ...
    def watched(
        self, offset: int
    ) -> contextlib.AbstractContextManager[Callable[[], list[bool]]]: ...


@dataclass
class Heard:
    """What a driver told, with a way to wait for it."""

    items: list[Any] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, *item: Any) -> None:
        with self.changed:
            self.items.append(item[0] if len(item) == 1 else item)
            self.changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        return self.until(lambda items: len(items) >= count)

    def until(self, done: Callable[[list[Any]], bool]) -> list[Any]:
        with self.changed:
            assert self.changed.wait_for(lambda: done(self.items), PATIENCE_S), self.items
            return list(self.items)


class HeardFaults:
    def __init__(self) -> None:
        self.lost, self.errors = Heard(), Heard()

    def edges_lost(self, count: int) -> None:
        self.lost(count)

    def failed(self, error: LineFault) -> None:
        self.errors(error)


class Rig:
    """Makes lines on the bench and closes them again, last first."""

    def __init__(self, bench: Bench, closing: contextlib.ExitStack) -> None:
        self.bench, self._closing = bench, closing

    def make(self, kind: str, line: int | str = LINE, *, io: Io | None = None, **keys: Any) -> Any:
        module, io = self.bench.module, io or self.bench.io
        makers: dict[str, Callable[[], Any]] = {
            "edge": lambda: module.edge_input(io, InputLine(line=line, **keys)),
            "level": lambda: module.level_input(io, InputLine(line=line, **keys)),
            "encoder": lambda: module.encoder_input(io, EncoderLine(line=line, **keys)),
            "output": lambda: module.output(io, OutputLine(line=line, **keys)),
        }
        made = makers[kind]()
        self._closing.callback(made.close)
        return made

    def opened(self, kind: str, line: int | str = LINE, **keys: Any) -> Any:
        """An output, or an input that has been started."""
        made = self.make(kind, line, **keys)
        if kind != "output":
            made.start(Heard())
        return made

    def pulse(self, count: int = 1, offset: int = LINE) -> None:
        for _ in range(count):
            self.bench.pull(offset, True)
            self.bench.pull(offset, False)


class GpioContract:
    """The cases; ``bench`` comes from the subclass."""

    @pytest.fixture
    def bench(self) -> Iterator[Bench]:
        raise NotImplementedError

    @pytest.fixture
    def rig(self, bench: Bench) -> Iterator[Rig]:
        with contextlib.ExitStack() as closing:
            yield Rig(bench, closing)

    # --- inputs -------------------------------------------------------------------------------

    def test_every_active_edge_is_reported_once_with_its_time(self, rig: Rig) -> None:
        edges, told_at = Heard(), list[int]()

        def hear(edge_mono_ns: int) -> None:
            told_at.append(time.monotonic_ns())
            edges(edge_mono_ns)

        line = rig.make("edge")
        line.start(hear)
        made_at = []
        for number in range(5):
            made_at.append(time.monotonic_ns())
            rig.bench.pull(LINE, True)
            edges.wait(number + 1)
            rig.bench.pull(LINE, False)
        stamps = edges.wait(5)
        assert all(a <= b <= c for a, b, c in zip(made_at, stamps, told_at, strict=True))

    def test_an_active_low_line_is_active_when_it_falls(self, rig: Rig) -> None:
        rig.bench.pull(LINE, True)
        edges = Heard()
        rig.make("edge", active=Active.LOW).start(edges)
        rig.bench.pull(LINE, False)
        assert len(edges.wait(1)) == 1
        rig.bench.pull(LINE, True)
        rig.bench.pull(LINE, False)
        assert len(edges.wait(2)) == 2

    @pytest.mark.parametrize("active", list(Active))
    def test_a_level_is_known_at_the_start_and_told_when_it_changes(
        self, rig: Rig, active: Active
    ) -> None:
        rig.bench.pull(LINE, True)
        levels = Heard()
        is_high_active = active is Active.HIGH
        assert rig.make("level", active=active).start(levels) is is_high_active
        rig.bench.pull(LINE, False)
        levels.wait(1)
        rig.bench.pull(LINE, True)
        assert [level for level, _ in levels.wait(2)] == [not is_high_active, is_high_active]
        times = [at for _, at in levels.items]
        assert times == sorted(times)

    def test_the_encoder_counts_active_edges(self, rig: Rig) -> None:
        counts = Heard()
        rig.make("encoder").start(counts)
        # One after the other: a kernel takes edges that come at once for one.
        for number in range(1, 51):
            rig.pulse()
            counts.wait(number)
        assert [count for count, _ in counts.items] == list(range(1, 51))

    def test_edges_before_the_start_and_after_the_close_are_not_told(self, rig: Rig) -> None:
        rig.pulse()
        edges = Heard()
        line = rig.make("edge")
        line.start(edges)
        rig.pulse()
        edges.wait(1)
        line.close()
        rig.pulse()
        assert len(edges.items) == 1

    @pytest.mark.parametrize("kind", KINDS[:3])
    def test_an_input_is_started_once(self, rig: Rig, kind: str) -> None:
        line = rig.opened(kind)
        with pytest.raises(UsageError, match="started twice"):
            line.start(Heard())
        line.close()
        line.close()
        never_started = rig.make(kind)
        never_started.close()
        with pytest.raises(UsageError, match="after it was closed"):
            never_started.start(Heard())

    # --- outputs --------------------------------------------------------------------------------

    @pytest.mark.parametrize("active", list(Active))
    def test_an_output_is_safe_from_its_first_moment_to_its_last(
        self, rig: Rig, active: Active
    ) -> None:
        idle = active is Active.LOW
        rig.bench.pull(LINE, idle)
        with rig.bench.watched(LINE) as levels:
            line = rig.make("output", active=active)
            assert rig.bench.level(LINE) is idle
            for level in (True, False, True):
                line.drive(level)
                assert rig.bench.level(LINE) is (level != idle)
            line.close()
            line.close()
            assert rig.bench.level(LINE) is idle
            assert levels() == [idle, not idle, idle, not idle, idle]
        with pytest.raises(UsageError, match="closed output"):
            line.drive(True)

    # --- what can be wrong ----------------------------------------------------------------------

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("first", ["edge", "output"])
    def test_a_line_is_not_opened_twice(self, rig: Rig, first: str, kind: str) -> None:
        opened = rig.opened(first)
        with pytest.raises(LineFault, match=rf"GPIO{LINE}\b.* in use|{LINE} of .* in use"):
            rig.opened(kind)
        opened.close()
        rig.opened(kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_line_that_another_process_holds_is_not_taken(self, rig: Rig, kind: str) -> None:
        with rig.bench.held_by_another(LINE) as holder:
            with pytest.raises(LineFault, match="in use") as error:
                rig.opened(kind)
            assert holder in str(error.value)
            assert error.value.next_action
        rig.opened(kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_without_rights_the_error_names_the_group(self, rig: Rig, kind: str) -> None:
        with (
            rig.bench.without_rights(),
            pytest.raises(LineFault, match=r"no permission to use .*group gpio.*udev"),
        ):
            rig.opened(kind)
        rig.opened(kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_chip_that_is_not_there_is_named(self, rig: Rig, kind: str) -> None:
        with rig.bench.without_chip() as io, pytest.raises(LineFault, match="GPIO chip"):
            rig.opened(kind, io=io)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_line_that_the_chip_lacks_is_named(self, rig: Rig, kind: str) -> None:
        if not rig.bench.knows_names:
            pytest.skip("the station file's rules let no other number through for this driver")
        for line in (1000, "GPIO99"):
            with pytest.raises(LineFault, match=str(line)):
                rig.opened(kind, line)

    def test_lines_are_found_by_name(self, rig: Rig) -> None:
        rig.opened("output", f"GPIO{LINE}").drive(True)
        assert rig.bench.level(LINE)

    @pytest.mark.parametrize("kind", KINDS[:3])
    def test_an_input_whose_chip_is_unplugged_says_so(self, rig: Rig, kind: str) -> None:
        faults = HeardFaults()
        line = rig.make(kind)
        line.report_faults_to(faults)
        line.start(Heard())
        rig.bench.unplug()
        (error,) = faults.errors.wait(1)
        assert isinstance(error, LineFault)
        assert "was removed or has failed" in str(error) and "cable" in error.next_action
        line.close()

    def test_an_output_whose_chip_is_unplugged_says_so(self, rig: Rig) -> None:
        line = rig.make("output")
        line.drive(True)
        rig.bench.unplug()
        with pytest.raises(LineFault, match="was removed or has failed"):
            line.drive(False)
        with contextlib.suppress(LineFault):
            line.close()
        line.close()

    def test_other_lines_go_on_when_one_is_closed(self, rig: Rig) -> None:
        edges = Heard()
        rig.make("edge").start(edges)
        rig.opened("edge", OTHER_LINE).close()
        rig.pulse()
        assert len(edges.wait(1)) == 1
