"""What a station keeps of replaced recipes: ``python -m tests.evidence.apply_memory 1000``.

Starts a station on the simulated line, applies its recipe again and again over the control socket,
and compares the process's resident memory, threads and descriptors after a warm-up with those at
the end. Ends with 1 if the memory has grown by more than 5 MiB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgeinspect.control.client import ControlClient
from edgeinspect.errors import StationUnreachable
from edgeinspect.settings import station_file

MAX_GROWTH_KIB = 5 * 1024
WARM_UP = 50
_START_S = 300.0
_APPLY_S = 60.0
_PROGRAM = "from edgeinspect.cli.main import main; main()"


def main(applies: int) -> int:
    with tempfile.TemporaryDirectory(prefix="edgeinspect-applies-") as folder:
        place = Path(folder)
        example = Path(station_file.__file__).parent / "examples" / "normally-rejecting.yaml"
        (place / "station.yaml").write_text(example.read_text())
        command = [sys.executable, "-c", _PROGRAM, "run", "--config", "station.yaml"]
        with (place / "run.log").open("w") as log:
            station = subprocess.Popen(command, cwd=place, stderr=log, stdout=log)
        try:
            return _measure(station, place / "data" / "control.sock", applies)
        except StationUnreachable:
            sys.stderr.write((place / "run.log").read_text())
            raise
        finally:
            station.terminate()
            station.wait(_START_S)


def _measure(station: subprocess.Popen[bytes], socket: Path, applies: int) -> int:
    client, pid = _connected(station, socket), station.pid
    before = (0, 0, 0)
    began_s = time.monotonic()
    with client:
        for number in range(1, applies + 1):
            client.call("apply_recipe", timeout_s=_APPLY_S)
            if number == WARM_UP:
                before = _held(pid)
            if number % 50 == 0:
                _print(number, time.monotonic() - began_s, _held(pid))
        parts = client.status()["records_acknowledged"]
    after = _held(pid)
    grown_kib = after[0] - before[0]
    printed = f"{applies} applies, {parts} parts: resident memory grew by {grown_kib} KiB"
    sys.stdout.write(f"{printed} after the first {WARM_UP}\n")
    return 0 if grown_kib <= MAX_GROWTH_KIB else 1


def _connected(station: subprocess.Popen[bytes], socket: Path) -> ControlClient:
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            return ControlClient(socket)
        except StationUnreachable:
            if station.poll() is not None or time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)


def _held(pid: int) -> tuple[int, int, int]:
    """Resident KiB, threads and descriptors of the process."""
    place = Path("/proc") / str(pid)
    fields = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    descriptors = sum(1 for _ in (place / "fd").iterdir())
    return int(fields["VmRSS"].split()[0]), int(fields["Threads"]), descriptors


def _print(number: int, seconds: float, held: tuple[int, int, int]) -> None:
    resident, threads, descriptors = held
    words = f"{resident} KiB, {threads} threads, {descriptors} descriptors"
    sys.stdout.write(f"{number:>6} applies, {seconds:6.1f} s: {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
