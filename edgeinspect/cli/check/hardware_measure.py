"""What the acceptance test measures of the machine: disk, timing, and whether it is emulated."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILE_BYTES = 32 << 20
_RECORD_BYTES = 4096
_WEAR_FILES = ("life_time", "pre_eol_info")


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """How fast a disk writes.

    Attributes:
        write_mb_per_s: speed of writing and syncing one file of 32 MiB.
        fsync_ms_median: median time to write and sync 4 KiB, as for each record.
        fsync_ms_p99: 99th percentile of that time.
    """

    write_mb_per_s: float
    fsync_ms_median: float
    fsync_ms_p99: float


def disk_figures(folder: Path, *, records: int = 100) -> DiskFigures:
    """Measure the disk of ``folder`` with a temporary file. Raises OSError."""
    import numpy as np

    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        block = os.urandom(1 << 20)  # a disk that compresses must not look fast
        began = time.monotonic_ns()
        for _ in range(_FILE_BYTES // len(block)):
            file.write(block)
        os.fsync(file.fileno())
        speed = _FILE_BYTES / 1e6 / ((time.monotonic_ns() - began) / 1e9)
        took_ms = []
        for number in range(records):
            file.write(block[number : number + _RECORD_BYTES])
            began = time.monotonic_ns()
            os.fdatasync(file.fileno())
            took_ms.append((time.monotonic_ns() - began) / 1e6)
    return DiskFigures(speed, *np.percentile(took_ms, (50, 99), method="higher").tolist())


def disk_wear(folder: Path, *, sys: Path = Path("/sys")) -> dict[str, str]:
    """Return the wear that the medium reports: an eMMC's registers; SD cards report none."""
    device = folder.stat().st_dev
    block = (sys / f"dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    found: dict[str, str] = {}
    for place in (block, block.parent):
        for name in ("device/name", "device/type", *(f"device/{wear}" for wear in _WEAR_FILES)):
            try:
                found.setdefault(name.removeprefix("device/"), (place / name).read_text().strip())
            except OSError:
                continue
    return found


def timer_lateness_us(*, deadlines: int = 300, period_ms: float = 5.0) -> list[float]:
    """Measure how late a real-time thread wakes, in us, ascending; no station takes part."""
    late: list[float] = []

    def loop() -> None:
        from edgeinspect.runtime.realtime import make_this_thread_punctual

        make_this_thread_punctual()
        due = time.monotonic_ns()
        for _ in range(deadlines):
            due += round(period_ms * 1e6)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            late.append((time.monotonic_ns() - due) / 1e3)

    thread = threading.Thread(target=loop, name="punctual")
    thread.start()
    thread.join()
    return sorted(late)


@contextmanager
def loaded(work: Callable[[], object]) -> Iterator[None]:
    """Keep every core busy with ``work`` until the block ends."""
    ended = threading.Event()

    def toil() -> None:
        while not ended.is_set():
            work()

    threads = [threading.Thread(target=toil) for _ in range(len(os.sched_getaffinity(0)))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def machine_emulation(*, root: Path = Path("/")) -> str:
    """Return what emulates this machine, or ""."""
    for name in ("sys_vendor", "product_name"):
        try:
            word = (root / "sys/class/dmi/id" / name).read_text().strip()
        except OSError:
            continue
        if any(known in word for known in ("QEMU", "Bochs", "KVM", "VirtualBox", "VMware")):
            return f"virtual machine ({word})"
    try:
        flags = (root / "proc/cpuinfo").read_text()
    except OSError:
        return ""
    return "virtual machine (a hypervisor's processor)" if " hypervisor" in flags else ""


def chip_emulation(device: Path, *, root: Path = Path("/")) -> str:
    """Return "gpio-sim" if a GPIO chip is the kernel's simulator, else ""."""
    place = (root / "sys/bus/gpio/devices" / device.name).resolve()
    return "gpio-sim" if "gpio-sim" in str(place) else ""


def video_emulation(device: str, *, root: Path = Path("/")) -> str:
    """Return the name of the kernel's virtual driver behind a V4L2 camera, or ""."""
    try:
        name = (root / "sys/class/video4linux" / Path(device).name / "name").read_text()
    except OSError:
        return ""
    known = [driver for driver in ("vivid", "vimc") if name.startswith(driver)]
    return known[0] if known else ""
