"""Boots the arm64 image under emulation: tests cut its power, log in by SSH and break its card."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from image.qemu.monitor import MachineError, Monitor, RootShell

FIRMWARE = Path("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")
BOOT_LIMIT_S = 1800.0
"""An idle host needs a minute or two; one with ten other busy programs, a quarter of an hour."""
COMMAND_LIMIT_S = 600.0
NO_ANSWER = 255


class Machine:
    """One emulated station on one disk. Use it in a ``with`` block; its power is cut at the end.

    Attributes:
        console: what it printed, of every start.
    """

    def __init__(self, disk: Path, ssh_key: Path) -> None:
        """Args:
        disk: a raw image, or a qcow2 one, which can keep the state of the running machine.
        ssh_key: of the technician.
        """
        self.disk = disk
        self._key = ssh_key
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.console = disk.with_suffix(".console")
        # a socket's path must be short
        self._sockets = tempfile.TemporaryDirectory(prefix="ei-")
        self._monitor: Monitor | None = None
        self._root: RootShell | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut_power()
        self._sockets.cleanup()

    def start(self, *, state: str | None = None) -> None:
        """Switch it on, or go on from a state that ``keep_state`` kept; returns at once."""
        self._port = _free_port()
        resume = ["-loadvm", state] if state else []
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                [*self._command(), *resume],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    @property
    def monitor(self) -> Monitor:
        """Raises MachineError."""
        if self._monitor is None:
            self._monitor = Monitor(self._socket("monitor"))
        return self._monitor

    def root(self, command: str, *, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str]:
        """Exit status and output of a command as root, if the card allows it. MachineError."""
        if self._root is None:
            self._root = RootShell(self._socket("root"), limit_s=limit_s)
        return self._root.run(command, limit_s=limit_s)

    def root_send(self, command: str) -> None:
        """As ``root``, but nobody waits for its end. MachineError."""
        self.root(":")
        assert self._root is not None
        self._root.send(command)

    def forget_shell(self) -> None:
        """The machine restarts: its shell will be another one."""
        if self._root is not None:
            self._root.close()
            self._root = None

    def keep_state(self, name: str) -> None:
        """Keep memory and disk as they are now, on a qcow2 disk. MachineError."""
        self.monitor.human(f"savevm {name}")

    def pause(self) -> None:
        """Stop its clock until ``go_on``; nothing in it can notice. MachineError."""
        self.monitor.execute("stop")

    def go_on(self) -> None:
        """After ``pause``; does nothing to a machine that runs. MachineError."""
        self.monitor.execute("cont")

    def plug_in(self, stick: Path) -> None:
        """A USB stick, to the machine; its file system is what counts. MachineError."""
        self.monitor.execute(
            "blockdev-add",
            **{"driver": "raw", "node-name": "stick"},
            file={"driver": "file", "filename": str(stick)},
        )
        self.monitor.execute(
            "device_add", driver="virtio-blk-pci", drive="stick", id="stick", bus="bay"
        )

    def pull_out(self, limit_s: float = 120.0) -> None:
        """The stick of ``plug_in``, whose content is then whole. MachineError."""
        self.monitor.execute("device_del", id="stick")
        until = time.monotonic() + limit_s
        while True:
            try:
                self.monitor.execute("blockdev-del", **{"node-name": "stick"})
            except MachineError:
                if time.monotonic() > until:
                    raise
                time.sleep(1)
            else:
                return

    def wait_for_login(self, limit_s: float = BOOT_LIMIT_S) -> float:
        """Wait until the technician can log in; return after how many seconds. MachineError."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"The machine has ended; see {self.console}.")
            if self.run("true", limit_s=60).returncode == 0:
                return time.monotonic() - began
            time.sleep(1)
        raise MachineError(f"Nobody could log in within {limit_s:.0f} s; see {self.console}.")

    def run(
        self,
        command: str,
        *,
        login: str = "technician",
        options: tuple[str, ...] = (),
        limit_s: float = COMMAND_LIMIT_S,
    ) -> subprocess.CompletedProcess[str]:
        """A command in the machine; exit code ``NO_ANSWER`` if it cannot be reached."""
        try:
            return subprocess.run(
                [*self.ssh(login, *options), command],
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
        """SIGKILL: data that the machine had not written is lost."""
        for wire in (self._monitor, self._root):
            if wire is not None:
                wire.close()
        self._monitor = self._root = None
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

    def _socket(self, name: str) -> Path:
        return Path(self._sockets.name) / name

    def _command(self) -> list[str]:
        kind = "qcow2" if self.disk.suffix == ".qcow2" else "raw"
        return [
            *("qemu-system-aarch64", "-nodefaults", "-display", "none", "-serial", "stdio"),
            # -cpu max would be many times slower
            *("-machine", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", "1024"),
            *("-accel", "tcg,thread=multi,tb-size=512"),
            # without a file for its variables, so that only the card remembers anything
            *("-bios", str(FIRMWARE)),
            *("-drive", f"if=none,id=card,format={kind},cache=writeback,file={self.disk}"),
            *("-device", "virtio-blk-pci,drive=card,bootindex=0"),
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
            *("-device", "i6300esb", "-action", "watchdog=reset"),
            *("-device", "pcie-root-port,id=bay"),
            *("-qmp", f"unix:{self._socket('monitor')},server=on,wait=off"),
            *("-chardev", f"socket,id=root,path={self._socket('root')},server=on,wait=off"),
            *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=root"),
        ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
