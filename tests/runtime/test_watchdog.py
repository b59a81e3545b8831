"""The service watchdog on a real socket, and a station process that is really stuck."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeinspect.errors import CameraFault, CameraLost, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.hw.fake_camera import CaptureCall, FakeCamera
from edgeinspect.part import Frame
from edgeinspect.runtime.fault_board import Fault
from edgeinspect.runtime.station_status import StationState
from edgeinspect.runtime.watchdog import Notifier, ServiceWatchdog
from tests.helpers.runtime_rig import Rig
from tests.helpers.station_clock import StationClock

REPOSITORY = Path(__file__).resolve().parents[2]


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(60)

    def receive(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def has_nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(60)
        return False

    def receive_until(self, key: str) -> dict[str, str]:
        while key not in (fields := self.receive()):
            pass
        return fields

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    abstract = f"@edgeinspect-test-{os.getpid()}"
    made = Systemd(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.close()


class FakeStation:
    progress_mono_ns = 0

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.said = "inspecting"

    def lasting_faults(self) -> dict[str, Fault]:
        return self.faults

    def sentence(self) -> str:
        return self.said


def test_keep_alives_follow_progress_and_nothing_else(systemd: Systemd) -> None:
    station = FakeStation()
    watchdog = ServiceWatchdog(Notifier(systemd.address), station)
    watchdog.ready()
    assert systemd.receive() == {"READY": "1", "STATUS": "inspecting"}
    assert not watchdog.step() and systemd.has_nothing()
    for _ in range(3):
        station.progress_mono_ns += 1
        assert watchdog.step()
        assert systemd.receive() == {"WATCHDOG": "1"}
        assert not watchdog.step() and systemd.has_nothing()
    station.said = "faulted: camera\nfailed"
    assert not watchdog.step()
    assert systemd.receive() == {"STATUS": "faulted: camera failed"}
    watchdog.stopping()
    assert systemd.receive() == {"STOPPING": "1", "STATUS": "stopping"}
    assert not watchdog.step() and systemd.has_nothing()


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (FaultName.HANGS, "camera"),
        (FaultName.HANGS, "pulse"),
        (FaultName.THREAD_DIED, "recorder"),
    ],
)
def test_a_stuck_or_dead_thread_ends_the_keep_alives_while_the_line_goes_on(
    name: FaultName, subject: str
) -> None:
    station = FakeStation()
    watchdog = ServiceWatchdog(Notifier(None), station)
    station.progress_mono_ns += 1
    station.faults = {"camera_failed": Fault(FaultName.CAMERA_FAILED, 1, True, "", 0)}
    assert watchdog.step()  # the camera thread is at it: a restart would not help
    station.progress_mono_ns += 1
    station.faults = {f"{name}_{subject}": Fault(name, 1, True, "", 0)}
    assert not watchdog.step()
    station.faults = {}
    assert watchdog.step()


def test_what_systemd_asks_of_the_process() -> None:
    pid = str(os.getpid())
    for environment, watchdog_ns in (
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10_000_000_000),
        ({"WATCHDOG_USEC": "400000", "WATCHDOG_PID": pid}, 400_000_000),
        ({"WATCHDOG_USEC": "400000", "WATCHDOG_PID": pid + "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ):
        notifier = Notifier.from_environment(environment)
        assert (notifier.watchdog_ns, notifier.send(READY="1")) == (watchdog_ns, False)
    assert ServiceWatchdog(Notifier(None, watchdog_ns=400_000_000), FakeStation()).period_s == 0.1
    with pytest.raises(UsageError, match="not a Unix socket"):
        Notifier.from_environment({"NOTIFY_SOCKET": "tcp:1"})


def test_a_socket_that_is_gone_or_full_costs_nothing(tmp_path: Path) -> None:
    nobody = Notifier(str(tmp_path / "missing"))
    assert not nobody.send(READY="1")
    nobody.close()
    listener = Systemd(str(tmp_path / "full"))
    notifier = Notifier(listener.address)
    assert [notifier.send(STATUS="x" * 1000) for _ in range(5000)][-1] is False
    notifier.close()
    listener.close()


def test_a_hung_camera_driver_is_named_within_a_second_and_ends_heartbeat_and_keep_alives(
    clock: StationClock,
) -> None:
    blocked = clock.event()

    def hang(call: CaptureCall) -> Frame:
        blocked.wait(60)
        raise CameraFault("too late")

    rig = Rig(clock, camera=FakeCamera(otherwise=hang))
    watchdog = ServiceWatchdog(Notifier(None), rig.station)
    with rig:
        rig.wait_until(lambda: len(rig.heartbeat.levels) > 2)
        rig.part()
        rig.wait_until(lambda: rig.station.faults.is_active(FaultName.HANGS, subject="camera"))
        assert rig.station.state is StationState.FAULTED
        watchdog.step()
        progress, beats = rig.station.progress_mono_ns, len(rig.heartbeat.levels)
        rig.wait_until(lambda: rig.station.progress_mono_ns > progress + 200_000_000)
        assert len(rig.heartbeat.levels) <= beats + 1
        assert not watchdog.step()  # although the line thread goes on and rejects
        rig.wait_for_records(1)
        blocked.set()
        rig.wait_until(lambda: not rig.station.faults.is_active(FaultName.HANGS, subject="camera"))
        rig.wait_until(lambda: len(rig.heartbeat.levels) > beats + 3)
    assert rig.sink.written[0].record.verdict.kind.value == "CANNOT_INSPECT"


def test_a_lost_camera_pauses_the_heartbeat_until_it_is_back(clock: StationClock) -> None:
    camera = FakeCamera([CameraLost("unplugged")], otherwise=CameraFault("no frame"))
    rig = Rig(clock, camera=camera)
    with rig:
        rig.wait_until(lambda: len(rig.heartbeat.levels) > 2)
        rig.part()
        rig.wait_until(lambda: rig.station.faults.is_active(FaultName.CAMERA_FAILED))
        assert "camera failed" in rig.station.sentence()
        rig.wait_until(lambda: camera.opened == 2)
        beats = len(rig.heartbeat.levels)
        rig.wait_until(lambda: len(rig.heartbeat.levels) > beats + 2)


def test_a_real_station_reports_ready_and_alive_and_goes_silent_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    listener = Systemd(str(tmp_path / "notify"))
    example = REPOSITORY / "edgeinspect/settings/examples/normally-rejecting.yaml"
    station = tmp_path / "station.yaml"
    station.write_text(example.read_text())
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": listener.address,
        "WATCHDOG_USEC": "1000000",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeinspect", "run", "--config", station, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert listener.receive_until("READY")["READY"] == "1"
        for _ in range(4):
            listener.receive_until("WATCHDOG")
        process.send_signal(signal.SIGTERM)
        assert listener.receive_until("STOPPING")["STATUS"] == "stopping"
        out, _ = process.communicate(timeout=60)
        assert json.loads(out.splitlines()[-1])["exit_code"] == 0
    finally:
        process.kill()
        process.wait()
        listener.close()


def test_a_slow_board_that_is_always_in_time_does_not_hang(
    clock: StationClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(clock)
    stages = rig.station._stages
    workers = stages.workers
    watches = stages.watches(lambda: False)
    (watch,) = (w for w in watches if w.name == "inspection")
    monkeypatch.setattr(workers, "busy_since_mono_ns", lambda: {0: 1000})
    for longest_ms, since in ((0, 1000), (200, 1000), (900, 900_001_000)):
        workers.longest_in_time_ns = longest_ms * 1_000_000
        assert watch.stuck_since_mono_ns() == since
    monkeypatch.setattr(workers, "busy_since_mono_ns", dict)
    assert watch.stuck_since_mono_ns() is None
    rig.station.stop()


def test_how_long_an_inspection_may_take_is_learned_from_those_in_time(clock: StationClock) -> None:
    rig = Rig(clock)
    with rig:
        rig.part()
        rig.wait_for_records(1)
        record = rig.sink.written[0].record
        assert record.verdict.kind.value == "PASS"
        assert 0 < rig.station._stages.workers.longest_in_time_ns < 60_000_000_000
