"""The control socket: what it answers, and that nobody on it can do harm."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from runtime_rig import DEADLINE_S, wait_until

from edgeinspect.errors import ModelRefused, StationBusy, StorageFault, UsageError
from edgeinspect.runtime.control import MAX_CLIENTS, MAX_UNSENT_BYTES, ControlServer
from edgeinspect.runtime.control_client import (
    CommandRefused,
    ControlClient,
    StationTimeout,
    StationUnreachable,
)
from edgeinspect.runtime.feed import EventFeed
from edgeinspect.runtime.protocol import MAX_REQUEST_BYTES


class FakeStation:
    """Records the commands that it gets."""

    def __init__(self) -> None:
        self.feed = EventFeed(capacity=8)
        self.commands: list[str] = []
        self.accepts = True

    def status(self) -> Mapping[str, object]:
        return {"state": "inspecting", "latency": float("nan")}

    def _note(self, command: str) -> bool:
        self.commands.append(command)
        return self.accepts

    def trigger(self) -> bool:
        return self._note("trigger")

    def pause(self) -> bool:
        return self._note("pause")

    def resume(self) -> bool:
        return self._note("resume")

    def acknowledge(self) -> bool:
        return self._note("acknowledge")

    def request_stop(self, *, immediate: bool = False) -> None:
        self._note("stop now" if immediate else "stop")


@pytest.fixture
def station() -> FakeStation:
    return FakeStation()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def server(station: FakeStation, path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path=path, controlled=station, apply_recipe=_apply)
    server.start()
    yield server
    server.stop()
    assert server.error is None
    assert not path.exists()


def _apply(arguments: Mapping[str, Any], wanted: Callable[[], bool]) -> Mapping[str, object]:
    assert wanted()
    if arguments.get("revision") == 13:
        raise ModelRefused("The model is not the one.", next_action="Fetch it again.")
    return {"recipe_digest": f"digest of {arguments['revision']}"}


@pytest.fixture
def client(server: ControlServer) -> Iterator[ControlClient]:
    with ControlClient(server.path, timeout_s=DEADLINE_S) as client:
        yield client


def test_commands_reach_the_station(client: ControlClient, station: FakeStation) -> None:
    for command in ("trigger", "pause", "resume", "acknowledge"):
        assert client.call(command) == {"accepted": True}
    assert client.call("stop", immediate=True) == {"stopping": True}
    assert station.commands == ["trigger", "pause", "resume", "acknowledge", "stop now"]


def test_status_is_json_even_with_nan(client: ControlClient, path: Path) -> None:
    status = client.status()
    assert status == {"state": "inspecting", "latency": None, "control_socket": str(path)}


def test_a_full_event_queue_is_said(client: ControlClient, station: FakeStation) -> None:
    station.accepts = False
    with pytest.raises(CommandRefused, match="try again"):
        client.call("trigger")


def test_recipe_is_applied_or_refused_with_its_reason(client: ControlClient) -> None:
    assert client.call("apply_recipe", revision=12) == {"recipe_digest": "digest of 12"}
    with pytest.raises(CommandRefused, match="not the one") as refused:
        client.call("apply_recipe", revision=13)
    assert refused.value.code == "ModelRefused"
    assert refused.value.next_action == "Fetch it again."


def test_unknown_command_lists_the_known_ones(client: ControlClient) -> None:
    with pytest.raises(CommandRefused, match="acknowledge, apply_recipe, events"):
        client.call("explode")


def test_events_come_in_order_and_others_do_not_wait(
    client: ControlClient, station: FakeStation, server: ControlServer
) -> None:
    events = client.events(from_sequence=0)
    for number in range(3):
        station.feed.publish(event="part", part_id=number)
    seen = [next(events) for _ in range(3)]
    assert [(event["seq"], event["part_id"]) for event in seen] == [(0, 0), (1, 1), (2, 2)]
    with ControlClient(server.path, timeout_s=DEADLINE_S) as other:
        assert other.status()["state"] == "inspecting"


def test_a_slow_listener_is_told_what_it_missed(
    client: ControlClient, station: FakeStation
) -> None:
    for number in range(20):
        station.feed.publish(event="part", part_id=number)
    events = client.events(from_sequence=0)
    assert next(events) == {"event": "missed", "count": 12}
    assert next(events)["part_id"] == 12


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", "bad_json"),
        (b"[1, 2]", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[" * 8000, "bad_json"),
        (b'{"id": 1, "cmd": "status"}', "bad_version"),
        (b'{"v": 2, "id": 1, "cmd": "status"}', "bad_version"),
        (b'{"v": true, "id": 1, "cmd": "status"}', "bad_version"),
        (b'{"v": 1, "id": 1}', "bad_request"),
        (b'{"v": 1, "id": [], "cmd": "status"}', "bad_request"),
        (b'{"v": 1, "id": 1, "cmd": "events", "from": -1}', "UsageError"),
        (b'{"v": 1, "id": 1, "cmd": "stop", "immediate": "yes"}', "UsageError"),
    ],
)
def test_bad_requests_are_answered(server: ControlServer, line: bytes, code: str) -> None:
    with _connected(server.path) as connection:
        reply = _ask(connection, line)
        assert reply["ok"] is False and reply["error"]["code"] == code
        assert _ask(connection, b'{"v":1,"id":"a","cmd":"status"}')["id"] == "a"


def test_an_endless_line_is_cut_off(server: ControlServer) -> None:
    with _connected(server.path) as connection:
        connection.sendall(b"x" * (MAX_REQUEST_BYTES + 1))
        assert _receive_line(connection)["error"]["code"] == "too_long"
        assert _closed(connection)


def test_too_many_clients_are_turned_away(server: ControlServer) -> None:
    connections = [_connected(server.path) for _ in range(MAX_CLIENTS)]
    for connection in connections:
        assert _ask(connection, b'{"v":1,"id":1,"cmd":"status"}')["ok"]
    with _connected(server.path) as late:
        assert _receive_line(late)["error"]["code"] == "too_many_clients"
    connections.pop().close()

    def lets_in() -> bool:
        with _connected(server.path) as again:
            return _ask(again, b'{"v":1,"id":1,"cmd":"status"}')["ok"] is True

    wait_until(lets_in)
    for connection in connections:
        connection.close()


def test_a_client_that_never_reads_is_dropped_and_harms_nobody(
    server: ControlServer, client: ControlClient
) -> None:
    request = b'{"v":1,"id":"%s","cmd":"status"}\n' % (b"x" * 10_000)
    with _connected(server.path) as silent:
        silent.settimeout(DEADLINE_S)
        with pytest.raises(OSError):
            for _ in range(10 * MAX_UNSENT_BYTES // len(request) + 1000):
                silent.sendall(request)
    assert client.status()["state"] == "inspecting"


def test_the_socket_is_as_open_as_its_mode_says(station: FakeStation, path: Path) -> None:
    old = os.umask(0)
    try:
        server = ControlServer(path=path, controlled=station, mode=0o600)
        server.start()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    server.stop()


def test_a_live_socket_is_refused_and_a_stale_one_replaced(
    server: ControlServer, station: FakeStation, path: Path, tmp_path: Path
) -> None:
    with pytest.raises(StationBusy, match="listens on"):
        ControlServer(path=path, controlled=station).start()
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    second = ControlServer(path=stale, controlled=station)
    second.start()
    with ControlClient(stale, timeout_s=DEADLINE_S) as client:
        assert client.status()["state"] == "inspecting"
    second.stop()


def test_what_is_no_socket_is_left_alone(station: FakeStation, path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(UsageError, match="is not a socket"):
        ControlServer(path=path, controlled=station).start()
    assert path.read_text() == "precious"


def test_bad_places_are_refused(station: FakeStation, tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="cannot be made"):
        ControlServer(path=tmp_path / "missing" / "s", controlled=station).start()
    with pytest.raises(UsageError, match="no group"):
        ControlServer(path=tmp_path / "s", controlled=station, group="no-such-group").start()


def test_client_says_when_nobody_is_there(path: Path) -> None:
    with pytest.raises(StationUnreachable, match="No station answers"):
        ControlClient(path)


def test_client_gives_up_on_a_silent_station(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with ControlClient(path) as client, pytest.raises(StationTimeout):
            client.call("status", timeout_s=0.05)


def test_client_survives_nonsense(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            for nonsense in (b"hello\n", b"[1]\n", b""):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(nonsense)

        thread = threading.Thread(target=answer)
        thread.start()
        for expected in ("not JSON", "not an object", "closed the connection"):
            with (
                ControlClient(path, timeout_s=DEADLINE_S) as client,
                pytest.raises(StationUnreachable, match=expected),
            ):
                client.status()
        thread.join(DEADLINE_S)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(DEADLINE_S)
    connection.connect(str(path))
    return connection


def _ask(connection: socket.socket, line: bytes) -> dict[str, Any]:
    connection.sendall(line + b"\n")
    return _receive_line(connection)


def _receive_line(connection: socket.socket) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = connection.recv(65_536)
        assert more, data
        data += more
    reply: dict[str, Any] = json.loads(data)
    return reply


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
