"""systemd's service watchdog, fed by real progress: sd_notify(3) over its Unix socket.

A timer would keep a dead station alive. So a keep-alive is sent only if the line thread has stepped
since the last one and no thread hangs or has died; then systemd ends the process after its
``WatchdogSec=`` and restarts it, while the gate rejects.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Protocol

from edgeinspect.errors import UsageError
from edgeinspect.faults import FaultName
from edgeinspect.runtime.fault_board import Fault


class Notifier:
    """Sends states to systemd; one that nobody listens to sends nothing.

    Never blocks: a message that systemd has no room for is dropped.
    """

    def __init__(self, address: str | None, *, watchdog_ns: int | None = None) -> None:
        """Connect to the service manager.

        Args:
            address: of ``NOTIFY_SOCKET``, a path or ``@abstract``; None: nobody listens.
            watchdog_ns: systemd acts if no message comes for this long; None: it does not.
        """
        self.watchdog_ns = watchdog_ns
        self._socket: socket.socket | None = None
        if address is None:
            return
        if not address.startswith(("/", "@")):
            raise UsageError(f"NOTIFY_SOCKET is {address!r}, which is not a Unix socket.")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """What systemd asked of this process. Raises UsageError."""
        found = os.environ if environment is None else environment
        usec, pid = found.get("WATCHDOG_USEC", ""), found.get("WATCHDOG_PID", "")
        meant = not pid or pid == str(os.getpid())
        watchdog_ns = int(usec) * 1000 if usec.isdecimal() and int(usec) and meant else None
        return cls(found.get("NOTIFY_SOCKET") or None, watchdog_ns=watchdog_ns)

    def send(self, **fields: str) -> bool:
        """Send e.g. ``READY="1", STATUS="inspecting"``; False if nobody got it."""
        if self._socket is None:
            return False
        lines = (f"{key}={' '.join(value.split())}" for key, value in fields.items())
        message = "\n".join(lines).encode()
        with contextlib.suppress(OSError):
            self._socket.sendto(message, self._address)
            return True
        return False

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Watched(Protocol):
    """What the watchdog looks at; ``edgeinspect.runtime.station.Station`` is the real one."""

    @property
    def progress_mono_ns(self) -> int:
        """When the line thread last made a full round."""

    def lasting_faults(self) -> Mapping[str, Fault]:
        """The faults that are active now."""

    def sentence(self) -> str:
        """How the station is, for ``systemctl status``."""


class ServiceWatchdog:
    """Reports the station's state to systemd; ``step`` is called several times a second."""

    def __init__(self, notifier: Notifier, station: Watched) -> None:
        self._notifier = notifier
        self._station = station
        self._seen_mono_ns = 0
        self._said = ""

    @property
    def period_s(self) -> float:
        """The interval for calling ``step``: a quarter of the one that systemd requires."""
        limit_ns = self._notifier.watchdog_ns
        return 0.25 if limit_ns is None else max(0.01, min(0.25, limit_ns / 4e9))

    def ready(self) -> None:
        """The station inspects."""
        self._said = self._station.sentence()
        self._notifier.send(READY="1", STATUS=self._said)

    def step(self) -> bool:
        """Report a new state, and a keep-alive if there was progress; return whether there was."""
        sentence = self._station.sentence()
        if sentence != self._said:
            self._said = sentence
            self._notifier.send(STATUS=sentence)
        progress = self._station.progress_mono_ns
        alive = progress > self._seen_mono_ns and not self._stuck()
        if alive:
            self._seen_mono_ns = progress
            self._notifier.send(WATCHDOG="1")
        return alive

    def _stuck(self) -> bool:
        lasting = self._station.lasting_faults().values()
        return any(fault.name in (FaultName.HANGS, FaultName.THREAD_DIED) for fault in lasting)

    def stopping(self) -> None:
        """The station stops in an orderly way, which may take as long as the belt is long."""
        self._notifier.send(STOPPING="1", STATUS="stopping")
        self._notifier.close()
