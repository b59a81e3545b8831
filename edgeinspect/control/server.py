"""The control socket's server: one thread, bounded in every direction.

It runs beside the line and calls nothing that waits for it: a client that is slow, silent or
hostile costs itself its connection and nobody else anything.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from edgeinspect.control.connections import (
    MAX_SUBSCRIPTIONS_A_USER,
    Client,
    NoRoom,
    Role,
    may_subscribe,
    to_make_room,
)
from edgeinspect.control.feed import EventFeed
from edgeinspect.control.protocol import (
    MAX_REQUEST_BYTES,
    ProtocolError,
    decode_request,
    encode,
    error_reply,
    failure,
    success,
)
from edgeinspect.control.unix_socket import Door, Listener, peer_user_id
from edgeinspect.errors import EventQueueFull, UsageError

APPLY_RECIPE = "apply_recipe"
_BACKLOG = 128
_FOLLOW_S = 0.05
_LOOK_S = 1.0
_READ_BYTES = 4096
_EVENTS_A_POLL = 200
_REQUESTS_A_POLL = 16
_CONNECTIONS_A_POLL = 64


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
Command = Callable[[Client, Mapping[str, Any]], Mapping[str, object]]


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
        watch: Door | None = None,
        commanders: Collection[str] | None = None,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Args:
        path, mode, group: of the control socket.
        watch: a second socket, on which every command is refused.
        commanders: the users who may command over the control socket; others may watch there.
            None: whoever may connect. Root and the station's own user always may.
        """
        self._doors = [Door(path, mode=mode, group=group)]
        self._doors += [watch] if watch is not None else []
        self._commanders = commanders
        self._controlled = controlled
        self._apply_recipe = apply_recipe
        self._now_mono_ns = now_mono_ns
        self._clients: dict[int, Client] = {}
        self._listeners: dict[int, Listener] = {}
        self._addresses: dict[str, str] = {}
        self._stopping = False
        self._slow_command = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.error: BaseException | None = None
        self._watching: dict[str, Command] = {
            "status": lambda client, arguments: {**controlled.status(), **self._addresses},
            "events": self._subscribe,
        }
        self._commands: dict[str, Command] = {
            **self._watching,
            "trigger": lambda client, arguments: _accepted(controlled.trigger()),
            "pause": lambda client, arguments: _accepted(controlled.pause()),
            "resume": lambda client, arguments: _accepted(controlled.resume()),
            "acknowledge": lambda client, arguments: _accepted(controlled.acknowledge()),
            "stop": self._stop_station,
        }
        if challenge is not None:
            self._commands["challenge"] = lambda client, arguments: challenge(arguments)

    @property
    def path(self) -> Path:
        """Where clients look for the control socket."""
        return self._doors[0].path

    def start(self) -> None:
        """Bind and serve. Raises StationBusy, UsageError or StorageFault, see ``listen_on``."""
        self._commander_ids = _user_ids(self._commanders)
        with contextlib.ExitStack() as opened:
            listeners = []
            for door in self._doors:
                listeners.append(Listener(door, backlog=_BACKLOG))
                opened.callback(listeners[-1].close)
            opened.pop_all()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        names = zip(("control_socket", "watch_socket"), listeners, strict=False)
        self._addresses = {name: listener.address for name, listener in names}
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._poll = select.epoll()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        for descriptor in (*self._listeners, self._wake_reader.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and remove the sockets; allowed without a ``start``."""
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
        except Exception as error:  # noqa: BLE001  the line goes on without its socket
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
            except OSError:  # no descriptor is left: the next round has closed some
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
            loser = to_make_room(self._clients.values(), role=role, user_id=user_id)
        except NoRoom:
            with suppress(OSError):
                connection.send(failure(None, "too_many_clients", "Too many connections."))
            connection.close()
            return
        if loser is not None:
            self._drop(loser)
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
                self._answer(client, bytes(line))
        if client.received:
            client.note_half_line(now_mono_ns)
        if len(client.received) > MAX_REQUEST_BYTES:
            words = f"A request has at most {MAX_REQUEST_BYTES} bytes."
            self._reply(client, failure(None, "too_long", words))
            client.closing = True
            client.received.clear()

    def _look_after(self, client: Client, now_mono_ns: int) -> None:
        """Close what has to go, and ask the kernel for what this client needs next."""
        if client.connection.fileno() not in self._clients:
            return
        if b"\n" in client.received:
            self._take_lines(client)
            self._wake()
        elif client.ended and client.is_idle:
            client.closing = True
        if client.closing:
            self._flush(client)  # what its buffer takes now; nobody waits for the rest
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
            client.stop_answering()  # what it has sent is done all the same
            return
        client.progress_mono_ns = self._now_mono_ns()

    def _drop(self, client: Client) -> None:
        client.stop_answering()
        self._clients.pop(client.connection.fileno(), None)
        client.connection.close()  # which takes it out of the poll, too

    def _wake(self) -> None:
        with suppress(OSError):
            self._wake_writer.send(b"w")

    # --- commands ---------------------------------------------------------------------------

    def _answer(self, client: Client, line: bytes) -> None:
        try:
            request_id, command, arguments = decode_request(line)
        except ProtocolError as error:
            self._reply(client, failure(error.request_id, error.code, str(error)))
            return
        known = {*self._commands, APPLY_RECIPE}
        if client.role is Role.WATCH and command in known - self._watching.keys():
            allowed = ", ".join(sorted(self._watching))
            words = (
                f"{command} needs the right to command; this connection may only use: {allowed}."
            )
            where = (
                f"Use {self._addresses['control_socket']} as a user whom the station file allows."
            )
            self._reply(client, failure(request_id, "not_allowed", words, where))
            return
        if command == APPLY_RECIPE:
            self._begin_apply(client, request_id, arguments)
            return
        try:
            run = self._commands.get(command)
            if run is None:
                there = ", ".join(sorted(known))
                raise UsageError(f"There is no command {command!r}; there are: {there}.")
            self._reply(client, success(request_id, run(client, arguments)))
        except Exception as error:  # noqa: BLE001  one bad command must not end the socket
            self._reply(client, error_reply(request_id, error))

    def _reply(self, client: Client, line: bytes) -> None:
        if not client.send(line, now_mono_ns=self._now_mono_ns()):
            client.closing = True

    def _subscribe(self, client: Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """From now on, or from ``from`` on as far as the ring still holds it."""
        wanted = arguments.get("from", self._controlled.feed.next_sequence)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            raise UsageError("from must be the number of an event.")
        if not may_subscribe(self._clients.values(), client):
            raise UsageError(
                f"One user may follow the events on {MAX_SUBSCRIPTIONS_A_USER} connections."
            )
        client.next_event = wanted
        return {"from": wanted}

    def _stop_station(self, client: Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        del client
        immediate = arguments.get("immediate", False)
        if not isinstance(immediate, bool):
            raise UsageError("immediate must be true or false.")
        self._controlled.request_stop(immediate=immediate)
        return {"stopping": True}

    def _begin_apply(
        self, client: Client, request_id: object, arguments: Mapping[str, Any]
    ) -> None:
        """In a thread of its own: loading and checking a model takes a while."""
        if self._apply_recipe is None:
            error = UsageError("This station cannot change its recipe while it runs.")
            self._reply(client, error_reply(request_id, error))
            return
        if not self._slow_command.acquire(blocking=False):
            self._reply(client, failure(request_id, "busy", "Another recipe is being applied."))
            return
        client.running = True
        threading.Thread(
            target=self._apply,
            args=(client, request_id, arguments),
            name="control-apply",
            daemon=True,  # a model that hangs cannot keep a stopped station alive
        ).start()

    def _apply(self, client: Client, request_id: object, arguments: Mapping[str, Any]) -> None:
        try:
            assert self._apply_recipe is not None
            reply = success(request_id, self._apply_recipe(arguments, lambda: not client.gone))
        except Exception as error:  # noqa: BLE001  the running recipe stays in force
            reply = error_reply(request_id, error)
        finally:
            self._slow_command.release()
        self._reply(client, reply)
        client.note_request(self._now_mono_ns())
        client.running = False
        self._wake()

    # --- events -------------------------------------------------------------------------------

    def _send_events(self, client: Client) -> None:
        """What fits; a slow client finds out how many events it has missed."""
        if client.next_event is None or client.unsent or client.closing:
            return
        missed, entries = self._controlled.feed.read(client.next_event, _EVENTS_A_POLL)
        now_mono_ns = self._now_mono_ns()
        if missed:
            client.send(encode({"event": "missed", "count": missed}), now_mono_ns=now_mono_ns)
        for entry in entries:
            line = encode({"seq": entry.sequence, **entry.fields})
            if not client.send(line, now_mono_ns=now_mono_ns):
                break
            client.next_event = entry.sequence + 1


def _accepted(accepted: bool) -> Mapping[str, object]:
    if not accepted:
        raise EventQueueFull("The station's event queue is full; try again.")
    return {"accepted": True}


def _user_ids(names: Collection[str] | None) -> frozenset[int] | None:
    """Raises UsageError for a user whom this machine does not know."""
    if names is None:
        return None
    found = set()
    for name in names:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise UsageError(
                f"There is no user {name} on this machine.",
                next_action="Make the user, or take the name out of control.commanders.",
            ) from None
    return frozenset(found)
