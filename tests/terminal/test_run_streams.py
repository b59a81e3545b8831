"""Whoever reads a station's log may go or sleep: the station inspects and stops in order."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeinspect.control.client import ControlClient
from edgeinspect.errors import StationUnreachable
from edgeinspect.records.reader import RecordReader
from edgeinspect.terminal.signals import unwinding_on_signals
from edgeinspect.terminal.streams import Journal, journal_on_stderr, write_within
from tests.helpers.runtime_rig import DEADLINE_S, wait_until

STATION = "from edgeinspect.cli.main import main; main()"
PIPE_BYTES = 4096


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(writer, b"x" * PIPE_BYTES)
    return reader, writer


class Started:
    """A station process on the simulated line, and what its standard streams are."""

    def __init__(self, folder: Path, streams: str) -> None:
        example = Path("edgeinspect/settings/examples/normally-passing-guarded.yaml")
        (folder / "station.yaml").write_text(example.read_text())
        self.data = folder / "data"
        self.socket = self.data / "control.sock"
        self.ends: list[int] = []
        command = [sys.executable, "-c", STATION, "run", "--config", "station.yaml", "--json"]
        if streams == "closed":
            command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
        output = self._output(streams)
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env=environment
        )
        if output >= 0:
            os.close(output)
        self._wait_for_records(3)
        if streams == "reader goes":
            os.close(self.ends.pop())

    def _output(self, streams: str) -> int:
        if streams == "nobody reads":
            reader, writer = full_pipe()
        elif streams == "reader goes":
            reader, writer = os.pipe()
        else:
            return subprocess.DEVNULL
        self.ends.append(reader)
        return writer

    def _wait_for_records(self, count: int) -> None:
        def recorded() -> bool:
            assert self.process.poll() is None
            try:
                with ControlClient(self.socket, timeout_s=DEADLINE_S) as client:
                    return bool(client.status()["records_acknowledged"] >= count)
            except StationUnreachable:
                return False

        wait_until(recorded)

    def apply_recipe(self) -> None:
        """What makes the station write a line into its log."""
        with ControlClient(self.socket, timeout_s=DEADLINE_S) as client:
            client.call("apply_recipe", revision=1, author="a", reason="b")
            client.call("apply_recipe", revision=1)

    def ends_well(self, *signals: signal.Signals) -> None:
        before = self._triggers()
        for number in signals:
            self.process.send_signal(number)
        assert self.process.wait(DEADLINE_S) == 0
        with RecordReader(self.data) as reader:
            ids = [part.record.part_id for part in reader.parts()]
        assert len(ids) >= before
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert not self.socket.exists()

    def _triggers(self) -> int:
        with ControlClient(self.socket, timeout_s=DEADLINE_S) as client:
            return int(client.status()["counts"]["triggers"])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in self.ends:
            os.close(end)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], Started]]:
    made: list[Started] = []

    def start(streams: str) -> Started:
        made.append(Started(tmp_path, streams))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parametrize("streams", ["reader goes", "nobody reads", "closed"])
def test_a_station_whose_log_is_gone_inspects_and_stops_in_order(
    streams: str, started: Callable[[str], Started]
) -> None:
    station = started(streams)
    station.apply_recipe()
    station.ends_well(signal.SIGTERM)


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
)
def test_signals_in_a_row_lose_no_part(
    signals: tuple[signal.Signals, ...], started: Callable[[str], Started]
) -> None:
    started("read by nobody and thrown away").ends_well(*signals)


# --- the streams themselves --------------------------------------------------------------------


def test_a_journal_counts_what_it_could_not_write() -> None:
    reader, writer = full_pipe()
    os.set_blocking(reader, False)
    journal = Journal(writer)
    journal.write_line("one")
    journal.write_line("two")
    assert os.read(reader, 2 * PIPE_BYTES) == b"x" * PIPE_BYTES
    journal.write_line("three")
    assert os.read(reader, PIPE_BYTES) == b"(2 lines could not be written and are lost.)\nthree\n"
    os.close(reader)
    journal.write_line("four")
    os.close(writer)
    journal.write_line("five")


def test_everything_that_writes_to_stderr_goes_through_the_journal(tmp_path: Path) -> None:
    program = (
        "import os, sys, threading, warnings\n"
        "from edgeinspect.terminal.streams import journal_on_stderr\n"
        "with journal_on_stderr() as journal:\n"
        "    journal.write_line('a sentence')\n"
        "    print('printed', file=sys.stderr, flush=True)\n"
        "    warnings.warn('a warning')\n"
        "    dying = threading.Thread(target=lambda: 1 / 0)\n"
        "    dying.start(); dying.join()\n"
        "    try:\n"
        "        os.write(2, b'as a library in C does')\n"
        "    except BlockingIOError:\n"
        "        os._exit(7)\n"
    )
    reader, writer = full_pipe()
    os.set_blocking(writer, True)
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        stderr=writer,
        check=False,
        timeout=DEADLINE_S,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
    )
    assert outcome.returncode == 7
    assert os.get_blocking(writer)  # the description that others share was left alone
    os.close(reader)
    os.close(writer)


def test_the_station_gets_its_own_stderr_back() -> None:
    before = sys.stderr
    with journal_on_stderr():
        assert sys.stderr is not before
    assert sys.stderr is before


def test_writing_with_a_deadline_gives_up() -> None:
    reader, writer = full_pipe()
    assert not write_within(writer, b"late", 0.01)
    assert os.read(reader, PIPE_BYTES) == b"x" * PIPE_BYTES
    big = b"y" * (20 * PIPE_BYTES)
    got = bytearray()

    def read() -> None:
        for _ in range(20):
            got.extend(os.read(reader, PIPE_BYTES))

    reading = threading.Thread(target=read)
    reading.start()
    assert write_within(writer, big, DEADLINE_S)
    reading.join(DEADLINE_S)
    assert got == big
    os.close(reader)
    assert not write_within(writer, b"nobody", 1.0)
    os.close(writer)


def test_no_file_of_ours_becomes_a_standard_stream(tmp_path: Path) -> None:
    program = (
        "from edgeinspect.terminal.streams import open_closed_streams\n"
        "import os, pathlib, sys\n"
        "open_closed_streams()\n"
        "opened = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "sys.stderr.write('told')\n"
        "pathlib.Path('number').write_text(str(opened))\n"
    )
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    subprocess.run(closing, check=True, cwd=tmp_path, env=environment)
    assert int((tmp_path / "number").read_text()) > 2


# --- signals that end other commands -------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGTERM, SystemExit),
        (signal.SIGHUP, SystemExit),
        (signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_a_signal_unwinds_and_its_twin_does_not_interrupt_the_closing(
    number: signal.Signals, raised: type[BaseException], request: pytest.FixtureRequest
) -> None:
    now_s = [100.0]
    closed: list[str] = []
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    former = signal.signal(number, default)
    request.addfinalizer(lambda: signal.signal(number, former))
    before = signal.getsignal(number)
    with pytest.raises(raised), unwinding_on_signals(lambda: now_s[0]):
        try:
            signal.raise_signal(number)
            pytest.fail("the signal did nothing")
        finally:
            now_s[0] += 2.9
            signal.raise_signal(number)
            closed.append("closed")
            now_s[0] += 0.2
            with pytest.raises(raised):
                signal.raise_signal(number)  # somebody means it
    assert closed == ["closed"]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_drives_an_output_closes_it_when_it_is_ended(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = (
        "import click, time, pathlib\n"
        "from edgeinspect.cli.application import run_command_line\n"
        "@click.command()\n"
        "def command():\n"
        "    try:\n"
        "        pathlib.Path('driven').touch()\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        pathlib.Path('safe').touch()\n"
        "raise SystemExit(run_command_line(command, program='p', arguments=[]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment)
    wait_until((tmp_path / "driven").exists)
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == 128 + number
    assert (tmp_path / "safe").exists()


def test_a_lost_terminal_ends_a_station_in_order(tmp_path: Path) -> None:
    """As when an SSH connection breaks: the kernel hangs up on the session's terminal."""
    example = Path("edgeinspect/settings/examples/normally-rejecting.yaml")
    (tmp_path / "station.yaml").write_text(example.read_text())
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        arguments = [sys.executable, "-c", STATION, "run", "--config", "station.yaml"]
        os.execve(sys.executable, arguments, environment)
    socket = tmp_path / "data" / "control.sock"

    def inspects() -> bool:
        try:
            with ControlClient(socket, timeout_s=DEADLINE_S) as client:
                return bool(client.status()["records_acknowledged"] > 2)
        except StationUnreachable:
            return False

    wait_until(inspects)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not socket.exists()
    with RecordReader(tmp_path / "data") as reader:
        assert reader.count() > 2


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    journal = Journal(full)
    journal.write_line("one")
    assert not write_within(full, b"two", 1.0)
    os.close(full)
