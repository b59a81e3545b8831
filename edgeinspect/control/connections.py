"""The control socket's connections: their rights, their limits, and when they are closed.

Nothing here touches a socket or a clock, so tests bring their own.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Collection
from enum import StrEnum

MAX_CLIENTS = 128
"""Connections of one role, for all users together."""
MAX_CLIENTS_A_USER = 16
MAX_SUBSCRIPTIONS_A_USER = 8
"""Half of a user's connections, so that subscribers never keep out a command."""
MAX_UNSENT_BYTES = 262_144
IDLE_S = 60
HALF_LINE_S = 10
UNREAD_S = 30


class Role(StrEnum):
    """What a connection may do."""

    WATCH = "watch"
    COMMAND = "command"


class Client:
    """One connection, as the server's thread knows it.

    Attributes:
        user_id: user of the process at the other end, as the kernel reports it.
        next_event: number of the next event to send; None without a subscription.
        closing: the connection will be closed once its answers are sent.
        ended: the client sends nothing more, but may still read.
        gone: the client is no longer waiting for answers.
        running: one of its slow commands is running.
    """

    def __init__(
        self, connection: socket.socket, *, role: Role, user_id: int, now_mono_ns: int
    ) -> None:
        self.connection = connection
        self.role = role
        self.user_id = user_id
        self.received = bytearray()
        self.unsent = bytearray()
        self.next_event: int | None = None
        self.closing = False
        self.ended = False
        self.gone = False
        self.running = False
        self.lock = threading.Lock()
        self.active_mono_ns = now_mono_ns
        self.line_mono_ns: int | None = None
        self.progress_mono_ns = now_mono_ns

    @property
    def is_idle(self) -> bool:
        """Whether the client expects nothing from the station."""
        return self.next_event is None and not self.running and not self.unsent

    def send(self, line: bytes, *, now_mono_ns: int) -> bool:
        """Queue a line; returns False if the client does not read its answers."""
        with self.lock:
            if self.gone:
                return True
            if len(self.unsent) + len(line) > MAX_UNSENT_BYTES and self.unsent:
                return False
            if not self.unsent:
                self.progress_mono_ns = now_mono_ns
            self.unsent += line
            return True

    def stop_answering(self) -> None:
        """Discard unsent answers, and every answer from now on."""
        with self.lock:
            self.gone = True
            self.unsent.clear()

    def note_request(self, now_mono_ns: int) -> None:
        """Note that a whole request has arrived."""
        self.active_mono_ns = now_mono_ns
        self.line_mono_ns = None

    def note_half_line(self, now_mono_ns: int) -> None:
        """Note that a part of a request has arrived."""
        if self.line_mono_ns is None:
            self.line_mono_ns = now_mono_ns

    def overdue(self, now_mono_ns: int) -> bool:
        """Whether the client has held its connection for too long without using it."""
        if self.unsent:
            return now_mono_ns - self.progress_mono_ns > UNREAD_S * 10**9
        if self.line_mono_ns is not None:
            return now_mono_ns - self.line_mono_ns > HALF_LINE_S * 10**9
        return self.is_idle and now_mono_ns - self.active_mono_ns > IDLE_S * 10**9


class NoRoom(Exception):
    """Every connection that could be closed is in use."""


def to_make_room(clients: Collection[Client], *, role: Role, user_id: int) -> Client | None:
    """The connection to close before this user gets another one; None if there is room.

    A user at the limit loses the own connection that has been idle for longest. If all connections
    of the role are taken, the user who holds the most of them loses one.

    Raises:
        NoRoom: none of those connections is idle.
    """
    same_role = [client for client in clients if client.role is role]
    held = Counter(client.user_id for client in same_role)
    if held[user_id] >= MAX_CLIENTS_A_USER:
        chosen_user = user_id
    elif len(same_role) >= MAX_CLIENTS:
        chosen_user = held.most_common(1)[0][0]
    else:
        return None
    idle = [client for client in same_role if client.user_id == chosen_user and client.is_idle]
    if not idle:
        raise NoRoom
    return min(idle, key=lambda client: client.active_mono_ns)


def may_subscribe(clients: Collection[Client], client: Client) -> bool:
    """Whether this connection may follow the events, given its user's other connections."""
    same = [
        other for other in clients if other.role is client.role and other.user_id == client.user_id
    ]
    following = sum(other.next_event is not None and other is not client for other in same)
    return following < MAX_SUBSCRIPTIONS_A_USER
