"""The control socket: what it answers, and that nobody on it can do harm."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.control.client import ControlClient
from edgeinspect.control.connections import (
    HALF_LINE_S,
    IDLE_S,
    MAX_CLIENTS_A_USER,
    MAX_SUBSCRIPTIONS_A_USER,
    MAX_UNSENT_BYTES,
    Role,
)
from edgeinspect.control.feed import EventFeed
from edgeinspect.control.protocol import MAX_REQUEST_BYTES
from edgeinspect.control.server import ControlServer
from edgeinspect.control.unix_socket import Endpoint
from edgeinspect.errors import (
    CommandRefused,
    ModelRefused,
    StationBusy,
    StationTimeout,
    StationUnreachable,
    StorageFault,
    UsageError,
)
from tests.helpers.pulse_bench import ManualClock
from tests.helpers.runtime_rig import DEADLINE_S, wait_until


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


def test_a_slow_listener_learns_how_much_it_missed(
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


STATUS = b'{"v":1,"id":1,"cmd":"status"}'


def test_idle_clients_make_room_for_who_wants_something(server: ControlServer) -> None:
    idle = [_connected(server.path) for _ in range(5 * MAX_CLIENTS_A_USER)]
    idle[0].close()
    for half in idle[1:4]:
        with suppress(OSError):
            half.sendall(b'{"v":1,')
    with _connected(server.path) as late:
        assert _ask(late, STATUS)["ok"]
    assert _closed(idle[1])
    for connection in idle:
        connection.close()


def test_ten_thousand_connections_keep_nobody_out(server: ControlServer, path: Path) -> None:
    held: deque[ControlClient] = deque(maxlen=200)
    for _ in range(10_000):
        if len(held) == held.maxlen:
            held[0].close()
        held.append(ControlClient(path, timeout_s=DEADLINE_S))
    with ControlClient(path, timeout_s=DEADLINE_S) as late:
        assert late.status()["state"] == "inspecting"
    for client in held:
        client.close()


def test_followers_leave_room_for_commands(server: ControlServer) -> None:
    followers = [_connected(server.path) for _ in range(MAX_SUBSCRIPTIONS_A_USER + 1)]
    follow = b'{"v":1,"id":1,"cmd":"events"}'
    answers = [_ask(follower, follow) for follower in followers]
    assert [answer["ok"] for answer in answers] == [True] * MAX_SUBSCRIPTIONS_A_USER + [False]
    assert "follow the events on 8 connections" in answers[-1]["error"]["message"]
    others = [_connected(server.path) for _ in range(MAX_CLIENTS_A_USER)]
    assert _ask(others[-1], STATUS)["ok"]
    for connection in (*followers, *others):
        connection.close()


@pytest.mark.parametrize("begun", [b"", b'{"v":1,"cmd"', b"\n \n{"])
def test_a_silent_client_is_sent_away(station: FakeStation, path: Path, begun: bytes) -> None:
    clock = ManualClock()
    server = ControlServer(path=path, controlled=station, now_mono_ns=clock.now_mono_ns)
    server.start()
    allowed_s = HALF_LINE_S if begun else IDLE_S
    with _connected(path) as silent, _connected(path) as follower:
        assert _ask(silent, STATUS)["ok"]
        silent.sendall(begun)
        assert _ask(follower, b'{"v":1,"cmd":"events"}')["ok"]
        clock.now += (allowed_s - 1) * 10**9
        with _connected(path) as other:
            assert _ask(other, STATUS)["ok"]
        clock.now += 2 * 10**9
        assert _closed(silent)
        station.feed.publish(event="part", part_id=1)
        assert _receive_line(follower)["part_id"] == 1
    server.stop()


def test_a_client_that_only_stops_writing_gets_its_answers(server: ControlServer) -> None:
    with _connected(server.path) as connection:
        apply = b'{"v":1,"id":2,"cmd":"apply_recipe","revision":12}\n'
        connection.sendall(STATUS + b"\n" + apply)
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while more := connection.recv(65_536):
            data += more
    assert [json.loads(line)["id"] for line in data.splitlines()] == [1, 2]


def test_commands_of_a_client_that_leaves_at_once_are_carried_out(
    server: ControlServer, station: FakeStation
) -> None:
    with _connected(server.path) as connection:
        connection.sendall(b'{"v":1,"cmd":"pause"}\n' * 40)
    wait_until(lambda: len(station.commands) == 40)


def test_a_recipe_learns_that_its_client_has_gone(station: FakeStation, path: Path) -> None:
    still_wanted: list[bool] = []
    began, go_on = threading.Event(), threading.Event()

    def apply(arguments: Mapping[str, Any], wanted: Callable[[], bool]) -> Mapping[str, object]:
        del arguments
        still_wanted.append(wanted())
        began.set()
        assert go_on.wait(DEADLINE_S)
        wait_until(lambda: not wanted())
        still_wanted.append(wanted())
        return {}

    server = ControlServer(path=path, controlled=station, apply_recipe=apply)
    server.start()
    with _connected(path) as connection:
        connection.sendall(b'{"v":1,"cmd":"apply_recipe"}\n')
        assert began.wait(DEADLINE_S)
    go_on.set()
    wait_until(lambda: len(still_wanted) == 2)
    assert still_wanted == [True, False]
    server.stop()


WATCHING = [{"cmd": "status"}, {"cmd": "events"}]
COMMANDING = [
    {"cmd": name}
    for name in ("trigger", "pause", "resume", "acknowledge", "stop", "apply_recipe", "challenge")
]


def _served(
    station: FakeStation, path: Path, *, commanders: Collection[str] | None = None
) -> ControlServer:
    server = ControlServer(
        path=path,
        controlled=station,
        apply_recipe=_apply,
        challenge=lambda arguments: {"challenge": 1},
        mode=0o666,
        watch=Endpoint(path.with_name("watch.sock"), mode=0o666, role=Role.WATCH),
        commanders=commanders,
    )
    server.start()
    return server


def _refused_commands(path: Path) -> list[str]:
    refused = []
    for request in COMMANDING:
        with _connected(path) as connection:
            answer = _ask(connection, json.dumps({"v": 1, "id": 1, **request}).encode())
            if not answer["ok"] and answer["error"]["code"] == "not_allowed":
                assert answer["error"]["message"] == (
                    f"{request['cmd']} needs permission to command the station; "
                    "this connection may only use: events, status."
                )
                assert str(path.parent / "control.sock") in answer["error"]["next_action"]
                refused.append(request["cmd"])
    return refused


def test_the_watch_socket_only_watches(station: FakeStation, path: Path) -> None:
    server = _served(station, path)
    watch = path.with_name("watch.sock")
    assert _refused_commands(watch) == [request["cmd"] for request in COMMANDING]
    assert station.commands == []
    with ControlClient(watch, timeout_s=DEADLINE_S) as client:
        status = client.status()
        assert (status["control_socket"], status["watch_socket"]) == (str(path), str(watch))
        with pytest.raises(CommandRefused, match="Unknown command 'explode'"):
            client.call("explode")
        station.feed.publish(event="part", part_id=1)
        assert next(client.events(from_sequence=0))["part_id"] == 1
    with (
        pytest.raises(CommandRefused, match="not the one"),
        ControlClient(path, timeout_s=DEADLINE_S) as client,
    ):
        client.call("apply_recipe", revision=13)
    server.stop()
    assert not watch.exists() and not path.exists()


def test_watchers_never_keep_commanders_out(station: FakeStation, path: Path) -> None:
    server = _served(station, path)
    watchers = [_connected(path.with_name("watch.sock")) for _ in range(MAX_CLIENTS_A_USER)]
    with _connected(path) as commander:
        assert _ask(commander, STATUS)["ok"]
        assert all(_ask(watcher, STATUS)["ok"] for watcher in watchers)
    for watcher in watchers:
        watcher.close()
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("commanders", "may_command"), [(None, True), (["nobody"], True), (["daemon"], False)]
)
def test_the_users_who_may_command_are_reported_by_the_kernel(
    station: FakeStation, commanders: list[str] | None, may_command: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        server = _served(station, place / "control.sock", commanders=commanders)
        asked = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        asked += "s.sendall(sys.argv[2].encode()); print(s.recv(65536).decode())"
        reported = []
        for name in ("control.sock", "watch.sock"):
            for request in ({"cmd": "status"}, {"cmd": "pause"}):
                line = json.dumps({"v": 1, **request}) + "\n"
                ran = subprocess.run(
                    ["/usr/bin/env", "python3", "-c", asked, str(place / name), line],
                    user="nobody",
                    capture_output=True,
                    text=True,
                    check=True,
                )
                reported.append(json.loads(ran.stdout)["ok"])
        assert _refused_commands(place / "control.sock") == []  # this process is the station's own
        server.stop()
    assert reported == [True, may_command, True, False]


def test_a_commander_whom_the_machine_does_not_know_is_named(
    station: FakeStation, path: Path
) -> None:
    with pytest.raises(UsageError, match="The user no-such-user does not exist"):
        ControlServer(path=path, controlled=station, commanders=["no-such-user"]).start()


def test_a_watch_socket_that_cannot_be_made_leaves_no_control_socket(
    station: FakeStation, path: Path
) -> None:
    path.with_name("watch.sock").write_text("precious")
    with pytest.raises(UsageError, match="is not a socket"):
        _served(station, path)
    assert not path.exists()
    assert path.with_name("watch.sock").read_text() == "precious"


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
    with pytest.raises(StationBusy, match="already uses"):
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
    with pytest.raises(StorageFault, match="cannot be created"):
        ControlServer(path=tmp_path / "missing" / "s", controlled=station).start()
    with pytest.raises(UsageError, match="does not exist"):
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
