"""A whole station process: how soon it is ready, and how much memory it takes."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from edgeinspect.control.client import ControlClient
from edgeinspect.errors import EdgeInspectError, NotGood

READY_DEADLINE_S = 120.0
EXAMPLE = "normally-rejecting.yaml"


class StationProcess(NamedTuple):
    """Start-up time and memory of the station's process.

    Attributes:
        start_to_ready_s: from the program's start to a control socket that says "inspecting".
        rss_mib: resident memory once 25 parts have been inspected. The simulated line that makes
            their pictures lives in the same process and is counted too.
    """

    start_to_ready_s: float
    rss_mib: float


def measure_process(*, parts: int = 25) -> StationProcess:
    """Run ``edgeinspect run`` on the simulated line for a few parts.

    Raises:
        NotGood: it did not start, with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="edgeinspect-bench-") as folder:
        data_dir = Path(folder) / "data"
        file = Path(folder) / "station.yaml"
        example = importlib.resources.files("edgeinspect.settings") / "examples" / EXAMPLE
        text = example.read_text(encoding="utf-8")
        file.write_text(text.replace("data_dir: data", f"data_dir: {data_dir}"), encoding="utf-8")
        log = Path(folder) / "log"
        program = [sys.executable, "-m", "edgeinspect", "run", "--config", str(file)]
        with log.open("wb") as output:
            start_s = time.monotonic()
            station = subprocess.Popen(program, stdout=output, stderr=output)
            try:
                _wait(station, data_dir / "control.sock", log, parts=0)
                ready_s = time.monotonic() - start_s
                _wait(station, data_dir / "control.sock", log, parts=parts)
                rss_mib = psutil.Process(station.pid).memory_info().rss / 2**20
            finally:
                station.terminate()
                station.wait(timeout=30)
    return StationProcess(ready_s, rss_mib)


def _wait(station: subprocess.Popen[bytes], socket: Path, log: Path, *, parts: int) -> None:
    """Poll until the station inspects and has finished that many parts."""
    deadline_s = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline_s:
        if station.poll() is not None:
            break
        if socket.exists() and _inspects(socket, parts):
            return
        time.sleep(0.02)
    raise NotGood(f"The station did not start: {log.read_text(errors='replace')[-400:]}")


def _inspects(socket: Path, parts: int) -> bool:
    try:
        with ControlClient(socket) as client:
            status = client.status()
    except EdgeInspectError:
        return False
    return bool(status["state"] == "inspecting" and status["records_acknowledged"] >= parts)
