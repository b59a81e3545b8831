"""Talking to a running station over its control socket; every call has a time limit."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from edgeinspect.control.protocol import MAX_REPLY_BYTES, PROTOCOL_VERSION, encode
from edgeinspect.control.socket_path import address_to_connect_to
from edgeinspect.errors import CommandRefused, StationTimeout, StationUnreachable
from edgeinspect.files.json_text import parse_json

_TRY_AGAIN_S = 0.01


class ControlClient:
    """One connection; use it in a ``with`` block, from one thread."""

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 5.0) -> None:
        """Connect.

        Args:
            path: the socket, as the station file places it.
            timeout_s: time limit for connecting, and for each answer unless a call sets its own.

        Raises:
            StationUnreachable: nobody listens there, or this user may not connect.
        """
        self._path = Path(path)
        self._timeout_s = timeout_s
        self._received = bytearray()
        self._number = 0
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(timeout_s)
        try:
            self._connect(os.fspath(address_to_connect_to(self._path)))
        except OSError as error:
            self._connection.close()
            raise self._unreachable(error) from error

    def _connect(self, address: str) -> None:
        """Try until the station's queue of new connections has room. Raises OSError."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            try:
                self._connection.connect(address)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise
            time.sleep(_TRY_AGAIN_S)

    @classmethod
    def to_watch(cls, *paths: Path, timeout_s: float = 5.0) -> Self:
        """Connect to the first of these sockets that answers; name the least powerful one first.

        Raises:
            StationUnreachable: none answers; the error is that of the last one.
        """
        *others, last = paths
        for path in others:
            with contextlib.suppress(StationUnreachable):
                return cls(path, timeout_s=timeout_s)
        return cls(last, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; closing twice is allowed."""
        self._connection.close()

    def call(
        self, command: str, *, timeout_s: float | None = None, **arguments: object
    ) -> Mapping[str, Any]:
        """Send one command and return its result.

        Raises:
            CommandRefused: the station did not carry it out; the error has its reason.
            StationTimeout: the station did not answer in time.
            StationUnreachable: the connection broke, or the answer makes no sense.
        """
        deadline_s = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        self._number += 1
        request = {"v": PROTOCOL_VERSION, "id": self._number, "cmd": command, **arguments}
        self._send(encode(request), deadline_s)
        while True:
            reply = self._receive(deadline_s)
            if "event" in reply:
                continue
            if reply.get("id") in (self._number, None):
                return _result(reply)

    def status(self) -> Mapping[str, Any]:
        """Ask for the station's status; docs/reference/control-socket.md lists the fields."""
        return self.call("status")

    def events(self, *, from_sequence: int | None = None) -> Iterator[Mapping[str, Any]]:
        """Subscribe, and yield events as they arrive for as long as the caller iterates.

        Args:
            from_sequence: number of the first event; None begins with the next one.

        Raises:
            StationUnreachable: the connection broke.
        """
        arguments = {} if from_sequence is None else {"from": from_sequence}
        self.call("events", **arguments)
        while True:
            message = self._receive(None)
            if "event" in message:
                yield message

    def _send(self, line: bytes, deadline_s: float) -> None:
        self._connection.settimeout(max(0.001, deadline_s - time.monotonic()))
        with self._translated():
            self._connection.sendall(line)

    def _receive(self, deadline_s: float | None) -> dict[str, Any]:
        while b"\n" not in self._received:
            if len(self._received) > MAX_REPLY_BYTES:
                raise self._broken("its answer is too long")
            self._received += self._more(deadline_s)
        line, _, self._received = self._received.partition(b"\n")
        try:
            message = parse_json(line)
        except ValueError as error:
            raise self._broken("its answer is not JSON") from error
        if not isinstance(message, dict):
            raise self._broken("its answer is not an object")
        return message

    def _more(self, deadline_s: float | None) -> bytes:
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise self._timeout()
        timeout_s = None if deadline_s is None else deadline_s - time.monotonic()
        self._connection.settimeout(None if timeout_s is None else max(0.001, timeout_s))
        with self._translated():
            data = self._connection.recv(65_536)
        if not data:
            raise self._broken("it closed the connection")
        return data

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise self._timeout() from error
        except OSError as error:
            raise self._broken(error) from error

    def _unreachable(self, error: OSError) -> StationUnreachable:
        if isinstance(error, PermissionError):
            return StationUnreachable(
                f"This user has no permission to connect to {self._path}.",
                next_action="Join the group of the socket, or use the station's watch socket.",
            )
        return StationUnreachable(
            f"No station answers on {self._path} ({error.strerror or error}).",
            next_action="Start it with: edgeinspect run --config STATION.yaml",
        )

    def _timeout(self) -> StationTimeout:
        return StationTimeout(f"The station on {self._path} did not answer in time.")

    def _broken(self, why: object) -> StationUnreachable:
        return StationUnreachable(f"The connection to {self._path} was lost: {why}.")


def _result(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    if reply.get("ok") is True:
        result: Mapping[str, Any] = reply.get("result", {})
        return result
    error = reply.get("error", {})
    raise CommandRefused(
        str(error.get("code", "unknown")),
        str(error.get("message", "The station refused without a reason.")),
        str(error.get("next_action", "")),
    )
