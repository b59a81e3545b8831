"""Boots the arm64 image under emulation: tests cut its power, log in by SSH and break its card."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

FIRMWARE = Path("/usr/share/AAVMF/AAVMF_CODE.fd")
VARIABLES = Path("/usr/share/AAVMF/AAVMF_VARS.fd")
BOOT_LIMIT_S = 600.0
"""Four times what a busy machine needs."""
COMMAND_LIMIT_S = 300.0
NO_ANSWER = 255


class MachineError(Exception):
    """The machine did not come up or did not answer."""


class Machine:
    """One emulated station on one disk.

    Attributes:
        console: what it printed, of every start.
    """

    def __init__(self, disk: Path, ssh_key: Path, folder: Path) -> None:
        """Args:
        ssh_key: of the technician.
        folder: for the console's log and the firmware's variables.
        """
        self._disk = disk
        self._key = ssh_key
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._folder = folder
        self.console = folder / "console.log"

    def start(self) -> None:
        """Switch it on; returns at once."""
        variables = self._folder / "variables.fd"
        if not variables.exists():
            shutil.copy(VARIABLES, variables)
        self._port = _free_port()
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                self._command(variables),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    def wait_for_login(self, limit_s: float = BOOT_LIMIT_S) -> float:
        """Wait until the technician can log in; return after how many seconds. MachineError."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"The machine has ended; see {self.console}.")
            if self.run("true", limit_s=60).returncode == 0:
                return time.monotonic() - began
            time.sleep(2)
        raise MachineError(f"Nobody could log in within {limit_s:.0f} s; see {self.console}.")

    def run(
        self, command: str, *, login: str = "technician", limit_s: float = COMMAND_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """A command in the machine; exit code ``NO_ANSWER`` if it cannot be reached."""
        try:
            return subprocess.run(
                [*self.ssh(login), command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(command, NO_ANSWER, "", str(error))

    def ssh(self, login: str = "technician", *options: str) -> list[str]:
        """How to log in, as a command line."""
        given = [
            *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"),
            *("ConnectTimeout=30", "ServerAliveInterval=15", "ServerAliveCountMax=8"),
            *("BatchMode=yes", "IdentitiesOnly=yes", *options),
        ]
        words = [word for option in given for word in ("-o", option)]
        return ["ssh", "-i", str(self._key), "-p", str(self._port), *words, f"{login}@127.0.0.1"]

    def copy_in(self, source: Path, target: str) -> None:
        """A file into the machine, as the technician. MachineError."""
        with source.open("rb") as file:
            done = subprocess.run(
                [*self.ssh(), f"cat > {shlex.quote(target)}"],
                stdin=file,
                capture_output=True,
                timeout=BOOT_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            raise MachineError(done.stderr.decode(errors="replace"))

    def cut_power(self) -> None:
        """SIGKILL: whatever the machine had not written is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def switch_off(self, limit_s: float = 180.0) -> None:
        """Shut it down as the technician does; cut the power if that takes too long."""
        self.run("sudo /usr/sbin/poweroff", limit_s=60)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(limit_s)
        self.cut_power()

    def _command(self, variables: Path) -> list[str]:
        return [
            *("qemu-system-aarch64", "-nodefaults", "-display", "none", "-serial", "stdio"),
            # -cpu max would be many times slower
            *("-machine", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "1024"),
            *("-accel", "tcg,thread=multi,tb-size=512"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}"),
            *("-drive", f"if=pflash,format=raw,file={variables}"),
            *("-drive", f"if=none,id=card,format=raw,cache=writeback,file={self._disk}"),
            *("-device", "virtio-blk-pci,drive=card,bootindex=0"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
            *("-device", "i6300esb", "-action", "watchdog=reset"),
        ]


@contextlib.contextmanager
def switched_on(disk: Path, ssh_key: Path, folder: Path) -> Iterator[Machine]:
    """A machine that somebody can log in to; its power is cut at the end. MachineError."""
    machine = Machine(disk, ssh_key, folder)
    machine.start()
    try:
        machine.wait_for_login()
        yield machine
    finally:
        machine.cut_power()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
