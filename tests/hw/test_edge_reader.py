"""One reader for all lines: whatever order they are read in, they are told in stamp order."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgeinspect.errors import LineFault
from edgeinspect.hw import gpiod as gpiod_driver
from edgeinspect.hw.edge_reader import EdgeReader, Told
from edgeinspect.settings.wiring import EncoderLine, InputLine, Io

PATIENCE_S = 30.0
_EDGE = struct.Struct("<q")


class Wire:
    """A line in memory: ``edge`` is the kernel's end of it."""

    def __init__(self, name: str, reported: Callable[[str, int], object], *, counts: bool = False):
        self.name, self.read_last = name, counts
        self.before_read: Callable[[], None] = lambda: None
        self.failures: list[OSError | None] = []
        self.failed = threading.Event()
        self._reported = reported
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        return self._reader

    def edge(self, at_ns: int) -> None:
        os.write(self._writer, _EDGE.pack(at_ns))

    def read(self) -> list[Told]:
        self.before_read()
        stamps = [at for (at,) in _EDGE.iter_unpack(os.read(self._reader, 4096))]
        return [(at, lambda at=at: self._reported(self.name, at)) for at in stamps]  # type: ignore[misc]

    def fail(self, error: OSError | None) -> None:
        self.failures.append(error)
        self.failed.set()

    def unplug(self) -> None:
        os.close(self._writer)


class Ear:
    """Everything that was told, in its order."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, int]] = []
        self._changed = threading.Condition()

    def __call__(self, name: str, at_ns: int) -> None:
        with self._changed:
            self.reported.append((name, at_ns))
            self._changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, int]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.reported) >= count, PATIENCE_S), (
                self.reported
            )
            return list(self.reported)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def reader() -> Iterator[EdgeReader]:
    reader = EdgeReader(patience_s=0.05)
    yield reader
    for source in list(reader._sources.values()):
        reader.remove(source)


def test_what_waits_on_several_lines_is_reported_in_the_order_of_its_stamps(
    reader: EdgeReader, ear: Ear
) -> None:
    opened, gate = threading.Event(), threading.Event()

    def hold_the_reader(name: str, at_ns: int) -> None:
        opened.set()
        assert gate.wait(PATIENCE_S), (name, at_ns)

    opener = Wire("opener", hold_the_reader)
    trigger, guard = Wire("trigger", ear), Wire("guard", ear)
    encoder = Wire("encoder", ear, counts=True)
    for wire in (opener, guard, encoder, trigger):
        reader.add(wire)
    opener.edge(1)
    assert opened.wait(PATIENCE_S)
    for wire, stamps in ((trigger, (25, 60)), (encoder, (10, 20, 30, 40)), (guard, (35,))):
        for stamp in stamps:
            wire.edge(stamp)
    gate.set()
    reported = ear.wait(7)
    assert [stamp for _, stamp in reported] == [10, 20, 25, 30, 35, 40, 60]
    assert reported[2] == ("trigger", 25)


def test_counts_that_come_while_another_line_is_read_are_reported_before_its_later_edge(
    reader: EdgeReader, ear: Ear
) -> None:
    trigger, encoder = Wire("trigger", ear), Wire("encoder", ear, counts=True)
    trigger.before_read = lambda: encoder.edge(99)
    reader.add(encoder)
    reader.add(trigger)
    trigger.edge(100)
    assert ear.wait(2) == [("encoder", 99), ("trigger", 100)]


def test_a_line_that_fails_says_so_once_and_the_others_go_on(reader: EdgeReader, ear: Ear) -> None:
    def refuse() -> None:
        raise OSError("no such device")

    unplugged, refusing, good = Wire("a", ear), Wire("b", ear), Wire("c", ear)
    refusing.before_read = refuse
    for wire in (unplugged, refusing, good):
        reader.add(wire)
    unplugged.unplug()
    refusing.edge(1)
    assert unplugged.failed.wait(PATIENCE_S)
    assert refusing.failed.wait(PATIENCE_S)
    good.edge(2)
    assert ear.wait(1) == [("c", 2)]
    assert unplugged.failures == [None]
    assert [str(error) for error in refusing.failures] == ["no such device"]


def test_nothing_is_reported_of_a_line_that_was_removed(reader: EdgeReader, ear: Ear) -> None:
    removed, kept = Wire("removed", ear), Wire("kept", ear)
    reader.add(removed)
    reader.add(kept)
    assert reader.remove(removed)
    removed.edge(1)
    kept.edge(2)
    assert ear.wait(1) == [("kept", 2)]


def test_a_listener_may_remove_its_own_line(reader: EdgeReader, ear: Ear) -> None:
    def once(name: str, at_ns: int) -> None:
        assert reader.remove(wire)
        ear(name, at_ns)

    wire, other = Wire("wire", once), Wire("other", ear)
    reader.add(other)
    wire.edge(1)
    wire.edge(2)
    reader.add(wire)
    ear.wait(1)
    other.edge(3)
    assert ear.wait(2) == [("wire", 1), ("other", 3)]


def test_a_line_whose_listener_hangs_is_not_given_up(reader: EdgeReader) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def hang(name: str, at_ns: int) -> None:
        hangs.set()
        go_on.wait(PATIENCE_S)

    wire = Wire("wire", hang)
    reader.add(wire)
    wire.edge(1)
    assert hangs.wait(PATIENCE_S)
    assert not reader.remove(wire)
    go_on.set()


def test_the_reader_ends_with_its_last_line_and_begins_again(reader: EdgeReader, ear: Ear) -> None:
    for at_ns in (1, 2):
        wire = Wire("wire", ear)
        reader.add(wire)
        wire.edge(at_ns)
        ear.wait(at_ns)
        thread = reader._thread
        assert thread is not None
        assert reader.remove(wire)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert ear.reported == [("wire", 1), ("wire", 2)]


# --- the driver gpiod on it ---------------------------------------------------------------------


class FakeRequest:
    """gpiod's ``LineRequest``, as far as the driver uses it."""

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe()
        self._waiting: list[Any] = []
        self.released = False

    def edge(self, number: int, at_ns: int) -> None:
        event = SimpleNamespace(line_seqno=number, timestamp_ns=at_ns, event_type="rising")
        self._waiting.append(event)
        os.write(self._writer, b"e")

    def read_edge_events(self, max_events: int) -> list[Any]:
        count = len(os.read(self.fd, max_events))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def get_value(self, offset: int) -> str:
        del offset
        return "inactive"

    def release(self) -> None:
        self.released = True


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeRequest]:
    made: dict[str, FakeRequest] = {}
    values = SimpleNamespace(Value=SimpleNamespace(ACTIVE="active"))
    library = SimpleNamespace(
        line=values, EdgeEvent=SimpleNamespace(Type=SimpleNamespace(RISING_EDGE="rising"))
    )

    def request(io: Io, wire: InputLine, settings: Any) -> tuple[str, int, FakeRequest]:
        del io, settings
        made[str(wire.line)] = FakeRequest()
        return str(wire.line), 0, made[str(wire.line)]

    monkeypatch.setattr(gpiod_driver, "vendor", lambda: library)
    monkeypatch.setattr(gpiod_driver, "_request", request)
    monkeypatch.setattr(gpiod_driver, "_input_settings", lambda wire, edges: None)
    return made


IO = Io(driver="gpiod", chip="pinctrl-rp1")


def test_gpiod_tells_every_count_and_puts_the_trigger_between_them(
    requests: dict[str, FakeRequest], ear: Ear
) -> None:
    opened, gate = threading.Event(), threading.Event()

    def hold_the_reader(at_mono_ns: int) -> None:
        del at_mono_ns
        opened.set()
        assert gate.wait(PATIENCE_S)

    opener = gpiod_driver.edge_input(IO, InputLine(line="opener"))
    trigger = gpiod_driver.edge_input(IO, InputLine(line="trigger"))
    encoder = gpiod_driver.encoder_input(IO, EncoderLine(line="encoder"))
    opener.start(hold_the_reader)
    trigger.start(lambda at: ear("trigger", at))
    encoder.start(lambda count, at: ear(f"count {count}", at))
    requests["opener"].edge(1, 1)
    assert opened.wait(PATIENCE_S)
    requests["trigger"].edge(1, 25)
    for number in (1, 2, 3):
        requests["encoder"].edge(number, 10 * number)
    gate.set()
    assert ear.wait(4) == [("count 1", 10), ("count 2", 20), ("trigger", 25), ("count 3", 30)]
    for line in (opener, trigger, encoder):
        line.close()
    assert all(request.released for request in requests.values())


def test_gpiod_counts_on_when_the_kernel_begins_its_numbers_anew(
    requests: dict[str, FakeRequest], ear: Ear
) -> None:
    encoder = gpiod_driver.encoder_input(IO, EncoderLine(line="encoder"))
    encoder.start(lambda count, at: ear(str(count), at))
    for at_ns, number in enumerate((2**32 - 1, 0, 1)):
        requests["encoder"].edge(number, at_ns)
    assert [int(count) for count, _ in ear.wait(3)] == [2**32 - 1, 2**32, 2**32 + 1]
    encoder.close()


class Faults:
    def __init__(self) -> None:
        self.lost: list[int] = []

    def edges_lost(self, count: int) -> None:
        self.lost.append(count)

    def failed(self, error: LineFault) -> None:
        raise AssertionError(error)


def test_gpiod_tells_what_was_lost_of_a_trigger_and_counts_on_for_an_encoder(
    requests: dict[str, FakeRequest], ear: Ear
) -> None:
    faults = Faults()
    trigger = gpiod_driver.edge_input(IO, InputLine(line="trigger"))
    encoder = gpiod_driver.encoder_input(IO, EncoderLine(line="encoder"))
    trigger.report_faults_to(faults)
    encoder.report_faults_to(faults)
    trigger.start(lambda at: ear("trigger", at))
    encoder.start(lambda count, at: ear(f"count {count}", at))
    requests["encoder"].edge(1, 10)
    ear.wait(1)
    requests["encoder"].edge(40, 400)
    ear.wait(2)
    requests["trigger"].edge(4, 500)
    assert ear.wait(3)[1:] == [("count 40", 400), ("trigger", 500)]
    assert faults.lost == [3]
    trigger.close()
    encoder.close()
