"""What the tests ask of a booted station, and how long they wait for it."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from image.qemu.machine import BOOT_LIMIT_S, Machine
from image.qemu.monitor import MachineError

STATION = "/data/edgeinspect/station.yaml"
LISTENER = r"""
import json, socket
wire = socket.socket(socket.AF_UNIX)
wire.connect("/data/edgeinspect/data/control.sock")
wire.sendall(b'{"v": 1, "cmd": "events"}\n')
for line in wire.makefile():
    event = json.loads(line)
    if event.get("event") == "part":
        print(event["part_id"], flush=True)
"""
"""Tells of each part once its record is durable."""
RECORDS = r"""
import json, sqlite3
db = sqlite3.connect("file:/data/edgeinspect/data/records.sqlite3?mode=ro", uri=True)
print(json.dumps({
    "parts": [row[0] for row in db.execute("SELECT part_id FROM parts")],
    "verdicts": dict(db.execute("SELECT verdict, count(*) FROM parts GROUP BY verdict")),
    "integrity": db.execute("PRAGMA integrity_check").fetchone()[0],
    "starts": [list(row) for row in db.execute("SELECT integrity, set_aside FROM starts")],
}))
"""


def wait_until(what: str, holds: Callable[[], bool], *, limit_s: float = BOOT_LIMIT_S) -> float:
    """Seconds until it held. MachineError if it does not in time."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > limit_s:
            raise MachineError(f"not {what} within {limit_s:.0f} s")
        time.sleep(10)  # each question costs the machine a second of what it waits for
    return time.monotonic() - began


def wait_until_shell(machine: Machine) -> float:
    """Seconds until the system runs far enough to answer root. MachineError."""
    began = time.monotonic()
    machine.root("true", limit_s=BOOT_LIMIT_S)
    return time.monotonic() - began


def wait_until_settled(machine: Machine) -> None:
    """Until nothing is left to start, and this system is marked good. MachineError."""

    def settled() -> bool:
        _, jobs = machine.root("systemctl list-jobs --no-legend", limit_s=600)
        return not jobs.strip() and unit(machine, "edgeinspect-health")["ActiveState"] == "active"

    wait_until("settled", settled)


def wait_until_inspecting(machine: Machine, *, limit_s: float = BOOT_LIMIT_S) -> float:
    """Seconds until systemd was told that the station inspects. MachineError.

    Asked of systemd, for a Python that asks the station would slow down what it waits for.
    """

    def ready() -> bool:
        return unit(machine, "edgeinspect")["ActiveState"] == "active"

    return wait_until("inspecting", ready, limit_s=limit_s)


def wait_until_passing(machine: Machine, *, limit_s: float = 600) -> dict[str, Any]:
    """Until good parts pass; what it answers then. MachineError.

    On a busy host the machine misses something now and then, rejects, and clears its belt.
    """
    answer: dict[str, Any] = {}

    def passing() -> bool:
        answer.update(status(machine))
        return bool(answer["state"] == "inspecting" and answer["rejecting_everything"] == [])

    wait_until("passing good parts", passing, limit_s=limit_s)
    return answer


def unit(machine: Machine, name: str) -> dict[str, str]:
    """What systemd knows of a unit."""
    properties = "ActiveState,SubState,Result,MainPID,NRestarts,ConditionResult"
    _, text = machine.root(f"systemctl show --property={properties} {name}", limit_s=600)
    return dict(line.split("=", 1) for line in text.split() if "=" in line)


def status(machine: Machine) -> dict[str, Any]:
    """The station's answer to the technician."""
    done = machine.run(f"edgeinspect status --config {STATION} --timeout 60 --json")
    if not done.stdout.strip():
        raise MachineError(f"no status: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def records(machine: Machine) -> dict[str, Any]:
    """What is in the records, read by the technician while the station writes them."""
    done = machine.run(f"python3 -c {shlex.quote(RECORDS)}")
    if done.returncode != 0:
        raise MachineError(f"records: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Listener:
    """Collects on this side the parts whose records the station has acknowledged."""

    def __init__(self, machine: Machine) -> None:
        command = [*machine.ssh(), f"python3 -uc {shlex.quote(LISTENER)}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        self.acknowledged: list[int] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self.acknowledged.append(int(line))

    def close(self) -> None:
        """Hang up; what had arrived stays known."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
