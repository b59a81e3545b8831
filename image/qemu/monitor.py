"""The two wires into an emulated machine that no station has: its monitor, and root's shell."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any


class MachineError(Exception):
    """The machine did not come up or did not answer."""


class Monitor:
    """QEMU's own control connection (docs/interop/qmp-spec.txt)."""

    def __init__(self, path: Path) -> None:
        """Raises MachineError if nobody listens there."""
        self._socket = _connect(path)
        self._socket.settimeout(300)
        self._lines = self._socket.makefile("rb")
        self._events: list[str] = []
        self._lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Raises MachineError with what the monitor said."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise MachineError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events.append(answer["event"])
        raise MachineError(f"{command}: the machine has ended")

    def wait_for_event(self, *names: str, limit_s: float) -> str:
        """The first event of these names since the last that was waited for. MachineError."""
        until = time.monotonic() + limit_s
        while True:
            while self._events:
                if (name := self._events.pop(0)) in names:
                    return name
            if time.monotonic() > until:
                raise MachineError(f"no {' or '.join(names)} within {limit_s:.0f} s")
            self.execute("query-status")
            time.sleep(0.5)

    def human(self, line: str) -> None:
        """A command of the monitor for people, which says nothing if it succeeds. MachineError."""
        said = self.execute("human-monitor-command", **{"command-line": line})
        if said.strip():
            raise MachineError(f"{line}: {said.strip()}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class RootShell:
    """Root's shell on a serial line; only there if the card's boot loader was told so (disk.py)."""

    def __init__(self, path: Path, *, limit_s: float) -> None:
        """Waits until the machine has a shell there. MachineError if it does not come in time."""
        self._socket = _connect(path)
        self._asked = 0
        until = time.monotonic() + limit_s
        while True:
            try:
                self.send("exec /bin/dash")  # which, unlike bash, does not edit what is typed
                self.run("stty -echo; PS1=; PS2=", limit_s=15)
            except MachineError:
                if time.monotonic() > until:
                    raise
            else:
                return

    def run(self, command: str, *, limit_s: float = 300.0) -> tuple[int, str]:
        """Exit status and output of a command. MachineError if it does not end in time."""
        self._asked += 1
        self.send(f'{{ {command}\n}} 2>&1; echo "<<{self._asked} $?>>"')
        answer = re.compile(rb"<<%d (\d+)>>" % self._asked)
        until = time.monotonic() + limit_s
        seen = b""
        while not (found := answer.search(seen)):
            left = until - time.monotonic()
            if left <= 0:
                raise MachineError(f"no end of {command!r} within {limit_s:.0f} s: {seen[-300:]!r}")
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(4096)
            except TimeoutError:
                continue
            except OSError as error:
                raise MachineError(f"the machine ended during {command!r}") from error
            if not piece:
                raise MachineError(f"the machine ended during {command!r}")
            seen += piece
        output = seen[: found.start()].decode(errors="replace").replace("\r\n", "\n")
        return int(found[1]), output

    def send(self, line: str) -> None:
        """Type a line and do not wait; for what ends the machine."""
        self._socket.sendall(f"{line}\n".encode())

    def close(self) -> None:
        self._socket.close()


def _connect(path: Path, limit_s: float = 30.0) -> socket.socket:
    until = time.monotonic() + limit_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            if time.monotonic() > until:
                raise MachineError(f"nobody listens on {path}: {error}") from error
            time.sleep(0.1)
        else:
            return connection
