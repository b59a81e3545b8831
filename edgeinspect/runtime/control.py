"""The control socket's server: one thread, bounded in every direction.

It runs beside the line and calls nothing that waits for it: a client that is slow, silent or
hostile costs itself its connection and nobody else anything.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from edgeinspect.errors import EdgeInspectError, UsageError
from edgeinspect.runtime.control_socket import listen_on, remove_own
from edgeinspect.runtime.feed import EventFeed
from edgeinspect.runtime.protocol import (
    MAX_REQUEST_BYTES,
    ProtocolError,
    decode_request,
    encode,
    error_reply,
    failure,
    success,
)

MAX_CLIENTS = 16
MAX_UNSENT_BYTES = 262_144
_POLL_S = 0.05
_READ_BYTES = 4096
_EVENTS_A_POLL = 200
_REQUESTS_A_POLL = 16


class Controlled(Protocol):
    """What the socket's commands act on; ``edgeinspect.runtime.station.Station`` is one."""

    @property
    def feed(self) -> EventFeed: ...
    def status(self) -> Mapping[str, object]: ...
    def trigger(self) -> bool: ...
    def pause(self) -> bool: ...
    def resume(self) -> bool: ...
    def acknowledge(self) -> bool: ...
    def request_stop(self, *, immediate: bool = False) -> None: ...


ApplyRecipe = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, object]]
"""Loads, checks and applies a recipe; may take seconds; returns what is in force then.

The second argument says whether somebody still waits for it: False means that it must not happen.
"""
Challenge = Callable[[Mapping[str, Any]], Mapping[str, object]]
"""One step of a challenge; returns how it stands."""


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = bytearray()
        self.unsent = bytearray()
        self.next_event: int | None = None
        self.closing = False
        self.gone = False
        self.lock = threading.Lock()

    def send(self, line: bytes) -> bool:
        """Queue a line; False if the client does not read what it was sent."""
        with self.lock:
            if len(self.unsent) + len(line) > MAX_UNSENT_BYTES and self.unsent:
                return False
            self.unsent += line
            return True


class ControlServer:
    """Serves the control socket from ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        path: Path,
        controlled: Controlled,
        apply_recipe: ApplyRecipe | None = None,
        challenge: Challenge | None = None,
        mode: int = 0o660,
        group: str | None = None,
    ) -> None:
        self._path = path
        self._mode = mode
        self._group = group
        self._controlled = controlled
        self._apply_recipe = apply_recipe
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._stopping = False
        self._inode: int | None = None
        self._address = ""
        self._slow_command = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="control-command")
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.error: BaseException | None = None
        self._commands: dict[str, Callable[[_Client, Mapping[str, Any]], Mapping[str, object]]] = {
            "status": lambda client, arguments: {
                **controlled.status(),
                "control_socket": self._address,
            },
            "trigger": lambda client, arguments: _accepted(controlled.trigger()),
            "pause": lambda client, arguments: _accepted(controlled.pause()),
            "resume": lambda client, arguments: _accepted(controlled.resume()),
            "acknowledge": lambda client, arguments: _accepted(controlled.acknowledge()),
            "stop": self._stop_station,
            "events": self._subscribe,
        }
        if challenge is not None:
            self._commands["challenge"] = lambda client, arguments: challenge(arguments)

    @property
    def path(self) -> Path:
        return self._path

    def start(self) -> None:
        """Bind and serve. Raises StationBusy, UsageError or StorageFault, see ``listen_on``."""
        self._listener = listen_on(
            self._path, mode=self._mode, group=self._group, backlog=MAX_CLIENTS
        )
        self._address = str(self._listener.getsockname())
        self._inode = Path(self._address).lstat().st_ino
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and remove the socket file; allowed without a ``start``."""
        if self._inode is None:
            return
        self._stopping = True
        self._wake()
        self._thread.join(2.0)
        self._pool.shutdown(wait=False, cancel_futures=True)
        remove_own(self._path, self._inode)

    # --- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._serve_once()
        except Exception as error:  # noqa: BLE001  the line goes on without its socket
            self.error = error
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            for end in (self._listener, self._wake_reader, self._wake_writer):
                end.close()
            self._selector.close()

    def _serve_once(self) -> None:
        following = any(client.next_event is not None for client in self._clients.values())
        for key, events in self._selector.select(_POLL_S if following else None):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_reader:
                with suppress(OSError):
                    self._wake_reader.recv(_READ_BYTES)
            elif key.fd in self._clients:
                if events & selectors.EVENT_READ:
                    self._receive(self._clients[key.fd])
                if events & selectors.EVENT_WRITE and key.fd in self._clients:
                    self._flush(self._clients[key.fd])
        for client in list(self._clients.values()):
            self._send_events(client)
            self._watch(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            with suppress(OSError):
                connection.send(failure(None, "too_many_clients", "Too many connections."))
            connection.close()
            return
        self._clients[connection.fileno()] = _Client(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.received += data
        self._take_lines(client)

    def _take_lines(self, client: _Client) -> None:
        for _ in range(_REQUESTS_A_POLL):
            line, newline, rest = client.received.partition(b"\n")
            if not newline:
                break
            client.received = rest
            if not client.closing and line.strip():
                self._answer(client, bytes(line))
        if len(client.received) > MAX_REQUEST_BYTES:
            client.send(
                failure(None, "too_long", f"A request has at most {MAX_REQUEST_BYTES} bytes.")
            )
            client.closing = True
            client.received.clear()

    def _watch(self, client: _Client) -> None:
        """Ask the selector for what this client needs next."""
        if client.connection.fileno() not in self._clients:
            return
        if b"\n" in client.received:
            self._take_lines(client)
            self._wake()
        if client.closing:
            self._flush(client)  # what its buffer takes now; nobody waits for the rest
            self._drop(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        if self._selector.get_key(client.connection).events != events:
            self._selector.modify(client.connection, events)

    def _flush(self, client: _Client) -> None:
        try:
            with client.lock:
                sent = client.connection.send(client.unsent)
                del client.unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        client.gone = True
        self._clients.pop(client.connection.fileno(), None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(client.connection)
        client.connection.close()

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_writer.send(b"w")

    # --- commands ---------------------------------------------------------------------------

    def _answer(self, client: _Client, line: bytes) -> None:
        try:
            request_id, command, arguments = decode_request(line)
        except ProtocolError as error:
            self._reply(client, failure(error.request_id, error.code, str(error)))
            return
        if command == "apply_recipe":
            self._begin_apply(client, request_id, arguments)
            return
        try:
            run = self._commands.get(command)
            if run is None:
                known = ", ".join(sorted([*self._commands, "apply_recipe"]))
                raise UsageError(f"There is no command {command!r}; there are: {known}.")
            self._reply(client, success(request_id, run(client, arguments)))
        except Exception as error:  # noqa: BLE001  one bad command must not end the socket
            self._reply(client, error_reply(request_id, error))

    def _reply(self, client: _Client, line: bytes) -> None:
        if not client.send(line):
            client.closing = True

    def _subscribe(self, client: _Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """From now on, or from ``from`` on as far as the ring still holds it."""
        wanted = arguments.get("from", self._controlled.feed.next_sequence)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            raise UsageError("from must be the number of an event.")
        client.next_event = wanted
        return {"from": wanted}

    def _stop_station(self, client: _Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        del client
        immediate = arguments.get("immediate", False)
        if not isinstance(immediate, bool):
            raise UsageError("immediate must be true or false.")
        self._controlled.request_stop(immediate=immediate)
        return {"stopping": True}

    def _begin_apply(
        self, client: _Client, request_id: object, arguments: Mapping[str, Any]
    ) -> None:
        """In a thread of its own: loading and checking a model takes a while."""
        if self._apply_recipe is None:
            error = UsageError("This station cannot change its recipe while it runs.")
            self._reply(client, error_reply(request_id, error))
            return
        if not self._slow_command.acquire(blocking=False):
            self._reply(client, failure(request_id, "busy", "Another recipe is being applied."))
            return
        self._pool.submit(self._apply, client, request_id, arguments)

    def _apply(self, client: _Client, request_id: object, arguments: Mapping[str, Any]) -> None:
        try:
            assert self._apply_recipe is not None
            reply = success(request_id, self._apply_recipe(arguments, lambda: not client.gone))
        except Exception as error:  # noqa: BLE001  the running recipe stays in force
            reply = error_reply(request_id, error)
        finally:
            self._slow_command.release()
        self._reply(client, reply)
        self._wake()

    # --- events -------------------------------------------------------------------------------

    def _send_events(self, client: _Client) -> None:
        """What fits; a slow client finds out how many events it has missed."""
        if client.next_event is None or client.unsent or client.closing:
            return
        missed, entries = self._controlled.feed.read(client.next_event, _EVENTS_A_POLL)
        if missed:
            client.send(encode({"event": "missed", "count": missed}))
        for entry in entries:
            if not client.send(encode({"seq": entry.sequence, **entry.fields})):
                break
            client.next_event = entry.sequence + 1


def _accepted(accepted: bool) -> Mapping[str, object]:
    if not accepted:
        raise _Busy("The station's event queue is full; try again.")
    return {"accepted": True}


class _Busy(EdgeInspectError):
    """The station could not take the command now."""
