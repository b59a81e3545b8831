"""Boots the guest under emulation and runs commands in it over SSH.

Its time is its own: see ``_qemu``. So whatever it measures is of one steady processor, much the
same on an idle host and on a busy one, and not in the host's seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shlex
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.vm.image import REPOSITORY, Image, cache_dir

BOOT_LIMIT_S = 1200.0
"""Ten times what an idle machine needs, and twice what was seen on a very busy one."""
COMMAND_LIMIT_S = 1800.0
SHUTDOWN_LIMIT_S = 120.0
_PRIORITY = -10
"""While the guest waits, its clock is the host's: a host that is late then looks like a hang."""
GUEST_HOME = "/opt/edgeinspect"
GUEST_ENVIRONMENT = {
    "PYTHONPATH": f"{GUEST_HOME}/source:{GUEST_HOME}/source/tools:{GUEST_HOME}/site",
    "EDGEINSPECT_VM": "1",
    "PATH": f"{GUEST_HOME}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
SOURCES = ("edgeinspect", "tools", "models", "tests", "pyproject.toml")


class MachineError(Exception):
    """The guest did not boot or did not answer."""


class Machine:
    """One running guest; what it writes to its disk is forgotten when it ends."""

    def __init__(
        self, image: Image, process: subprocess.Popen[bytes], port: int, log: Path
    ) -> None:
        self._image = image
        self._process = process
        self._port = port
        self.log = log

    def run(
        self,
        command: Sequence[str] | str,
        *,
        limit_s: float = COMMAND_LIMIT_S,
        stdin: IO[bytes] | int | None = subprocess.DEVNULL,
        capture: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the guest; a string goes to its shell as it is.

        Raises:
            subprocess.TimeoutExpired: it ran longer than ``limit_s``.
        """
        text = command if isinstance(command, str) else shlex.join(command)
        environment = " ".join(f"{name}={value}" for name, value in GUEST_ENVIRONMENT.items())
        return subprocess.run(
            [*self._ssh(), f"export {environment}; {text}"],
            stdin=stdin,
            timeout=limit_s,
            text=True,
            check=False,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
        )

    def send_source(self) -> None:
        """Copy this repository's package, models and tests to the guest."""
        self._unpack(_packed(REPOSITORY, SOURCES), f"{GUEST_HOME}/source")

    def fetch(self, path: str) -> bytes:
        """A file of the guest; b"" if there is none."""
        done = subprocess.run(
            [*self._ssh(), f"cat {shlex.quote(path)}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        return done.stdout if done.returncode == 0 else b""

    @property
    def ssh_command(self) -> str:
        """How a person logs in."""
        return shlex.join(self._ssh())

    def _unpack(self, archive: bytes, folder: str) -> None:
        unpack = f"tar --warning=no-timestamp -xf - -C {folder}"  # its clock lags behind ours
        command = f"rm -rf {folder} && mkdir -p {folder} && {unpack}"
        subprocess.run([*self._ssh(), command], input=archive, check=True, timeout=COMMAND_LIMIT_S)

    def _ssh(self) -> list[str]:
        options = (
            *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
            *("ConnectTimeout=60", "ServerAliveInterval=60", "ServerAliveCountMax=10"),
            "BatchMode=yes",
        )
        given = [part for option in options for part in ("-o", option)]
        return [
            "ssh",
            "-i",
            str(self._image.ssh_key),
            "-p",
            str(self._port),
            *given,
            "root@127.0.0.1",
        ]

    def wait_for_login(self) -> None:
        deadline_s = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise MachineError(f"The machine ended while it booted; see {self.log}.")
            # "starting" and "degraded" answer too; only a dead connection gives 255.
            done = subprocess.run(
                [*self._ssh(), "systemctl is-system-running --wait"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=BOOT_LIMIT_S,
                check=False,
            )
            if done.returncode != 255:
                return
            time.sleep(1.0)
        raise MachineError(f"Nobody could log in within {BOOT_LIMIT_S:.0f} s; see {self.log}.")

    def shut_down(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("systemctl poweroff", limit_s=SHUTDOWN_LIMIT_S, capture=True)
        try:
            self._process.wait(SHUTDOWN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def booted(image: Image, *, name: str = "guest", memory_mib: int = 2048) -> Iterator[Machine]:
    """A guest that answers; powered off at the end. One of a name runs at a time on a host.

    Raises:
        MachineError: it did not come up.
    """
    with _only_one(name) as folder:
        log = folder / f"console-{name}.log"
        port = _free_port()
        with log.open("wb") as console:
            process = subprocess.Popen(
                _qemu(image, port, memory_mib=memory_mib),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _PRIORITY)
        machine = Machine(image, process, port, log)
        try:
            machine.wait_for_login()
            yield machine
            machine.shut_down()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _qemu(image: Image, port: int, *, memory_mib: int) -> list[str]:
    # The guest's clock counts instructions, two nanoseconds each: it stands still while the host
    # does something else, whose bad moments would look like stages that hang and late pulses.
    return [
        *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none"),
        *("-machine", "q35", "-cpu", "max", "-m", str(memory_mib), "-serial", "stdio"),
        *("-accel", "tcg,thread=single,tb-size=512", "-smp", "1", "-icount", "shift=1"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off audit=0"),
        *("-drive", f"file={image.disk},format=raw,if=virtio,snapshot=on"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
        *("-device", "i6300esb", "-action", "watchdog=none"),
    ]


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[Path]:
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"lock-{name}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"vm: waiting for the machine {name} that runs already\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _packed(root: Path, names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        hidden = Path(entry.name).name in ("__pycache__", ".mypy_cache", ".venv")
        return None if hidden else entry

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            archive.add(root / name, arcname=name, filter=wanted)
    return buffer.getvalue()
