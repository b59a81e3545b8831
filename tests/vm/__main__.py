"""``python -m tests.vm``: build the virtual machine, boot it, run the drivers' tests in it.

python -m tests.vm test                  everything (make test-vm)
python -m tests.vm test gpio station     these suites
python -m tests.vm test gpio -k killed   what pytest selects
python -m tests.vm run uname -a          one command
python -m tests.vm up                    leave it running and say how to log in
python -m tests.vm build                 only build it
python -m tests.vm packages              the host's Debian packages that it needs
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.vm.image import HOST_PACKAGES, Image, ensure_image
from tests.vm.machine import Machine, MachineError, booted

GUEST_TESTS = "/opt/edgeinspect/source/tests/vm/guest"
GUESTS = {
    "lines": ("gpio", "rpi_lgpio", "v4l2", "kills"),
    "station": ("picamera2", "calibrate", "station"),
}
"""Suites of each guest, which take about as long; a suite is a process of its own, as its drivers
would be. Both guests run at once: a guest is one thread of the host."""
SUITES = tuple(suite for suites in GUESTS.values() for suite in suites)
PARTS_OF_FILES = {
    "rpi_lgpio": ("rpi_lgpio", ("not unplugged", "unplugged")),
    "station": ("station", ("not kills",)),
    "kills": ("station", ("kills",)),
}
"""Suites that are not one process with one file of their own: the file, and what ``-k`` chooses for
each process. rpi-lgpio never lets go of a chip that has gone, and hears no edge of the next one."""
REPORT = "/root/report.md"
TEST_LIMIT_S = 3600.0
_writing = threading.Lock()
NOTHING_SELECTED = 5
EMULATED = """
What ran above ran on an emulated machine: GPIO lines of the kernel's gpio-sim, cameras of the
kernel's vivid and vimc, a software watchdog. Nothing of it ran on a board: no Raspberry Pi, no
Coral board, no real wire, sensor, valve, camera or Edge TPU.
"""


def main(arguments: Sequence[str]) -> int:
    action, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if action == "packages":
        sys.stdout.write(" ".join(HOST_PACKAGES) + "\n")
        return 0
    if action not in ("test", "run", "up", "build"):
        sys.stdout.write(__doc__ or "")
        return 0 if action in ("-h", "--help") else 2
    began_s = time.monotonic()
    image = ensure_image()
    _print(f"image ready after {time.monotonic() - began_s:.0f} s")
    if action == "build":
        return 0
    if action == "test":
        code = _test(image, rest)
    else:
        with booted(image) as machine:
            machine.send_source()
            code = {"run": _run, "up": _up}[action](machine, rest)
    _print(f"finished after {time.monotonic() - began_s:.0f} s")
    return code


def _test(image: Image, arguments: list[str]) -> int:
    chosen = [name for name in arguments if name in SUITES] or SUITES
    options = [argument for argument in arguments if argument not in SUITES]
    guests = {
        guest: suites
        for guest, names in GUESTS.items()
        if (suites := [name for name in names if name in chosen])
    }
    with ThreadPoolExecutor() as pool:
        outcomes = list(
            pool.map(lambda guest: _in_guest(image, guest, guests[guest], options), guests)
        )
    for report, _ in outcomes:
        sys.stdout.write(report)
    sys.stdout.write(EMULATED)
    codes = [code for _, of_guest in outcomes for code in of_guest]
    failed = [code for code in codes if code not in (0, NOTHING_SELECTED)]
    return failed[0] if failed else min(codes)


def _in_guest(
    image: Image, guest: str, suites: Sequence[str], options: list[str]
) -> tuple[str, list[int]]:
    """The report and the exit codes of these suites, in a guest of their own."""
    began_s = time.monotonic()
    try:
        with booted(image, name=guest) as machine:
            _print(f"{guest} booted after {time.monotonic() - began_s:.0f} s")
            machine.send_source()
            codes = [_suite(machine, name, options) for name in suites]
            report = machine.fetch(REPORT).decode()
    except (MachineError, subprocess.SubprocessError) as error:
        _print(f"{guest}: FAILED, {error}")
        return "", [1]
    return (f"\n{report}" if report else ""), codes


def _suite(machine: Machine, name: str, arguments: list[str]) -> int:
    began_s = time.monotonic()
    file, chosen = PARTS_OF_FILES.get(name, (name, ()))
    path = f"{GUEST_TESTS}/test_vm_{file}.py"
    command = ["python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", path, *arguments]
    runs = [[]] if "-k" in arguments or not chosen else [["-k", words] for words in chosen]
    done = [machine.run([*command, *only], limit_s=TEST_LIMIT_S, capture=True) for only in runs]
    code = max((run.returncode for run in done), key=lambda code: code not in (0, NOTHING_SELECTED))
    outcome = {0: "ok", NOTHING_SELECTED: "nothing selected"}.get(code, f"FAILED ({code})")
    with _writing:
        sys.stdout.write("".join(run.stdout for run in done))
        sys.stdout.flush()
        _print(f"suite {name}: {outcome} after {time.monotonic() - began_s:.0f} s")
    return code


def _run(machine: Machine, arguments: list[str]) -> int:
    return machine.run(arguments, stdin=None).returncode


def _up(machine: Machine, arguments: list[str]) -> int:
    del arguments
    _print(f"log in with: {machine.ssh_command}  (Ctrl-C here ends it)")
    stop = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    signal.sigwait(stop)
    return 0


def _print(what: str) -> None:
    sys.stderr.write(f"vm: {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.TimeoutExpired as error:
        sys.exit(f"vm: {error}")
