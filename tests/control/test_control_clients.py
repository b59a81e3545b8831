"""Whose connection makes room for whom, and when a silent one has to go."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edgeinspect.control.connections import (
    HALF_LINE_S,
    IDLE_S,
    MAX_CLIENTS,
    MAX_CLIENTS_A_USER,
    UNREAD_S,
    Client,
    NoRoom,
    Role,
    to_make_room,
)

SECOND = 10**9


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as unconnected:
        yield unconnected


def client(
    connection: socket.socket, user_id: int = 1, *, at_s: int = 0, role: Role = Role.COMMAND
) -> Client:
    return Client(connection, role=role, user_id=user_id, now_mono_ns=at_s * SECOND)


def test_a_user_at_the_limit_gives_up_the_oldest_idle_connection(connection: socket.socket) -> None:
    held = [client(connection, at_s=number) for number in range(MAX_CLIENTS_A_USER)]
    assert to_make_room(held[1:], role=Role.COMMAND, user_id=1) is None
    assert to_make_room(held, role=Role.COMMAND, user_id=2) is None
    held[0].note_request(99 * SECOND)
    assert to_make_room(held, role=Role.COMMAND, user_id=1) is held[1]


@pytest.mark.parametrize("busy", ["follows", "runs a command", "has answers to read"])
def test_connections_in_use_are_not_given_up(connection: socket.socket, busy: str) -> None:
    held = [client(connection) for _ in range(MAX_CLIENTS_A_USER)]
    for one in held:
        one.next_event = 1 if busy == "follows" else None
        one.running = busy == "runs a command"
        if busy == "has answers to read":
            one.send(b"answer", now_mono_ns=0)
    with pytest.raises(NoRoom):
        to_make_room(held, role=Role.COMMAND, user_id=1)


def test_the_user_with_the_most_connections_makes_room_for_another(
    connection: socket.socket,
) -> None:
    greedy = [client(connection, 7, at_s=9) for _ in range(MAX_CLIENTS_A_USER)]
    modest = [
        client(connection, 100 + number // 2) for number in range(MAX_CLIENTS - MAX_CLIENTS_A_USER)
    ]
    assert to_make_room([*modest, *greedy], role=Role.COMMAND, user_id=1) is greedy[0]
    assert to_make_room([*modest, *greedy], role=Role.WATCH, user_id=1) is None


def test_silence_has_an_end(connection: socket.socket) -> None:
    one = client(connection)
    assert not one.overdue(IDLE_S * SECOND)
    assert one.overdue(IDLE_S * SECOND + 1)
    one.next_event = 5
    assert not one.overdue(10**9 * SECOND)
    one.running, one.next_event = True, None
    assert not one.overdue(10**9 * SECOND)


def test_a_byte_now_and_then_does_not_keep_a_line_open(connection: socket.socket) -> None:
    one = client(connection)
    for second in range(HALF_LINE_S + 1):
        one.note_half_line(second * SECOND)
        assert not one.overdue(second * SECOND)
    assert one.overdue(HALF_LINE_S * SECOND + 1)
    one.note_request(HALF_LINE_S * SECOND)
    assert not one.overdue(HALF_LINE_S * SECOND + 1)


def test_a_follower_that_stops_reading_is_overdue(connection: socket.socket) -> None:
    one = client(connection)
    one.next_event = 5
    one.send(b"event", now_mono_ns=100 * SECOND)
    one.send(b"event", now_mono_ns=120 * SECOND)
    assert not one.overdue((100 + UNREAD_S) * SECOND)
    assert one.overdue((100 + UNREAD_S) * SECOND + 1)
