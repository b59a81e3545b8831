"""The control socket's server: one thread, with a limit on everything that a client can use.

It runs beside the line and never makes it wait. A client that is slow, silent or hostile loses its
own connection and harms nobody else.

The thread polls the kernel itself. ``asyncio`` was tried: it saved 16 lines, but it cannot
distinguish a client that has hung up from one that only stopped writing, it accepts nobody for a
second when descriptors run out, and it costs every station 4 MB and a slower start.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from edgeinspect.control.commands import ApplyRecipe, Challenge, Commands, Controlled
from edgeinspect.control.connections import (
    Client,
    NoRoom,
    Role,
    to_make_room,
)
from edgeinspect.control.protocol import MAX_REQUEST_BYTES, encode, failure
from edgeinspect.control.unix_socket import Endpoint, Listener, peer_user_id
from edgeinspect.errors import UsageError

_BACKLOG = 128
_FOLLOW_S = 0.05
_LOOK_S = 1.0
_READ_BYTES = 4096
_EVENTS_A_POLL = 200
_REQUESTS_A_POLL = 16
_CONNECTIONS_A_POLL = 64


class ControlServer:
    """Serves the control socket, and the socket that can only watch, from ``start`` to ``stop``."""

    def __init__(
        self,
        *,
        path: Path,
        controlled: Controlled,
        apply_recipe: ApplyRecipe | None = None,
        challenge: Challenge | None = None,
        mode: int = 0o660,
        group: str | None = None,
        watch: Endpoint | None = None,
        commanders: Collection[str] | None = None,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare a server; nothing is opened before ``start``.

        Args:
            path: where the control socket goes.
            controlled: the station.
            apply_recipe: applies a recipe; None if this station cannot.
            challenge: carries out one step of a challenge; None if this station has none.
            mode: permissions of the control socket.
            group: group of the control socket; None keeps the process's own.
            watch: a second socket, which refuses every command.
            commanders: the users who may command over the control socket, beside root and the
                station's own user; others may only watch there. None allows everybody who can
                connect.
            now_mono_ns: the clock.
        """
        self._endpoints = [Endpoint(path, mode=mode, group=group)]
        self._endpoints += [watch] if watch is not None else []
        self._commanders = commanders
        self._now_mono_ns = now_mono_ns
        self._clients: dict[int, Client] = {}
        self._listeners: dict[int, Listener] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.error: BaseException | None = None
        self._feed = controlled.feed
        self._commands = Commands(
            controlled,
            clients=self._clients.values(),
            reply=self._reply,
            finish=self._finish_slow_command,
            apply_recipe=apply_recipe,
            challenge=challenge,
        )

    @property
    def path(self) -> Path:
        """The path where clients look for the control socket."""
        return self._endpoints[0].path

    def start(self) -> None:
        """Bind the sockets and start to serve.

        Raises:
            StationBusy, UsageError, StorageFault: see ``listen_on``.
        """
        self._commander_ids = _user_ids(self._commanders)
        with contextlib.ExitStack() as opened:
            listeners = []
            for endpoint in self._endpoints:
                listeners.append(Listener(endpoint, backlog=_BACKLOG))
                opened.callback(listeners[-1].close)
            opened.pop_all()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        names = zip(("control_socket", "watch_socket"), listeners, strict=False)
        self._commands.addresses = {name: listener.address for name, listener in names}
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._poll = select.epoll()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        for descriptor in (*self._listeners, self._wake_reader.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and remove the sockets; does nothing without a ``start``."""
        if not self._listeners:
            return
        self._stopping = True
        self._wake()
        self._thread.join(2.0)
        for listener in self._listeners.values():
            listener.close()

    # --- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._serve_once()
        except Exception as error:  # noqa: BLE001  the line continues without its socket
            self.error = error
        finally:
            for client in list(self._clients.values()):
                self._drop(client)
            for end in (self._wake_reader, self._wake_writer):
                end.close()
            self._poll.close()

    def _serve_once(self) -> None:
        following = any(client.next_event is not None for client in self._clients.values())
        for descriptor, events in self._poll.poll(_FOLLOW_S if following else _LOOK_S):
            if descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif descriptor == self._wake_reader.fileno():
                with suppress(OSError):
                    self._wake_reader.recv(_READ_BYTES)
            elif descriptor in self._clients:
                self._serve(self._clients[descriptor], events)
        now_mono_ns = self._now_mono_ns()
        for client in list(self._clients.values()):
            self._send_events(client)
            self._look_after(client, now_mono_ns)

    def _accept(self, listener: Listener) -> None:
        for _ in range(_CONNECTIONS_A_POLL):
            try:
                connection, _ = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors: the next round closes some first
                time.sleep(_FOLLOW_S)
                return
            self._welcome(connection, listener)

    def _welcome(self, connection: socket.socket, listener: Listener) -> None:
        connection.setblocking(False)
        user_id = peer_user_id(connection)
        role = listener.role
        if role is Role.COMMAND and not self._may_command(user_id):
            role = Role.WATCH
        try:
            replaced = to_make_room(self._clients.values(), role=role, user_id=user_id)
        except NoRoom:
            with suppress(OSError):
                connection.send(failure(None, "too_many_clients", "Too many connections."))
            connection.close()
            return
        if replaced is not None:
            self._drop(replaced)
        client = Client(connection, role=role, user_id=user_id, now_mono_ns=self._now_mono_ns())
        self._clients[connection.fileno()] = client
        self._poll.register(connection, select.EPOLLIN)

    def _may_command(self, user_id: int) -> bool:
        allowed = self._commander_ids
        return allowed is None or user_id in allowed or user_id in (0, os.geteuid())

    def _serve(self, client: Client, events: int) -> None:
        if events & select.EPOLLIN:
            self._receive(client)
        if events & select.EPOLLOUT and client.unsent:
            self._flush(client)
        closed = events & select.EPOLLHUP and client.ended and b"\n" not in client.received
        if closed or events & select.EPOLLERR:
            self._drop(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if not data:
            client.ended = True
            return
        client.received += data
        self._take_lines(client)

    def _take_lines(self, client: Client) -> None:
        now_mono_ns = self._now_mono_ns()
        for _ in range(_REQUESTS_A_POLL):
            line, newline, rest = client.received.partition(b"\n")
            if not newline:
                break
            client.received = rest
            client.note_request(now_mono_ns)
            if not client.closing and line.strip():
                self._commands.answer(client, bytes(line))
        if client.received:
            client.note_half_line(now_mono_ns)
        if len(client.received) > MAX_REQUEST_BYTES:
            words = f"A request has at most {MAX_REQUEST_BYTES} bytes."
            self._reply(client, failure(None, "too_long", words))
            client.closing = True
            client.received.clear()

    def _look_after(self, client: Client, now_mono_ns: int) -> None:
        """Close the connection if its time is up, otherwise poll for its next event."""
        if client.connection.fileno() not in self._clients:
            return
        if b"\n" in client.received:
            self._take_lines(client)
            self._wake()
        elif client.ended and client.is_idle:
            client.closing = True
        if client.closing:
            self._flush(client)  # as much as the kernel takes now; nobody waits for the rest
            self._drop(client)
        elif client.overdue(now_mono_ns):
            self._drop(client)
        else:
            reads = 0 if client.ended else select.EPOLLIN
            self._poll.modify(client.connection, reads | select.EPOLLOUT * bool(client.unsent))

    def _flush(self, client: Client) -> None:
        try:
            with client.lock:
                sent = client.connection.send(client.unsent)
                del client.unsent[:sent]
        except BlockingIOError:
            return
        except OSError:
            client.stop_answering()  # commands that it has sent are still carried out
            return
        client.progress_mono_ns = self._now_mono_ns()

    def _drop(self, client: Client) -> None:
        client.stop_answering()
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()  # this also removes it from the poll

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_writer.send(b"w")

    def _reply(self, client: Client, line: bytes) -> None:
        if not client.send(line, now_mono_ns=self._now_mono_ns()):
            client.closing = True

    def _finish_slow_command(self, client: Client, line: bytes) -> None:
        """Send a slow command's answer; called in the command's own thread."""
        self._reply(client, line)
        client.note_request(self._now_mono_ns())
        client.running = False
        self._wake()

    # --- events -------------------------------------------------------------------------------

    def _send_events(self, client: Client) -> None:
        """Send as many events as fit; report to a slow client how many it has missed."""
        if client.next_event is None or client.unsent or client.closing:
            return
        missed, entries = self._feed.read(client.next_event, _EVENTS_A_POLL)
        now_mono_ns = self._now_mono_ns()
        if missed:
            client.send(encode({"event": "missed", "count": missed}), now_mono_ns=now_mono_ns)
        for entry in entries:
            line = encode({"seq": entry.sequence, **entry.fields})
            if not client.send(line, now_mono_ns=now_mono_ns):
                break
            client.next_event = entry.sequence + 1


def _user_ids(names: Collection[str] | None) -> frozenset[int] | None:
    """Numbers of the users with these names. Raises UsageError if this machine lacks one."""
    if names is None:
        return None
    found = set()
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UsageError(
                f"The user {name} does not exist on this machine.",
                next_action="Create the user, or remove the name from control.commanders.",
            ) from None
    return frozenset(found)
