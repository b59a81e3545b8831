"""A challenge from the command line to the gate and back to paper."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinspect.assembly.assemble import AssembledStation
from edgeinspect.challenge.challenge_report import report_html
from edgeinspect.challenge.challenge_service import ChallengeService
from edgeinspect.challenge.challenge_store import ChallengeStore
from edgeinspect.challenge.master_pictures import stored_pictures
from edgeinspect.challenge.run_challenge import ChallengeRun
from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.control.client import ControlClient
from edgeinspect.control.server import ControlServer
from edgeinspect.errors import CommandRefused, NotGood, UsageError
from edgeinspect.hw import clock as hw_clock
from edgeinspect.part import Doubt, GateOutcome, VerdictKind
from edgeinspect.records.reader import PartFilter, RecordReader
from edgeinspect.records.writer import RecordWriter
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.plan import plan_station
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.challenge import Challenge, Occasion
from edgeinspect.settings.station_file import load_station
from tests.helpers.challenge_samples import HandClock, sample_plan
from tests.helpers.records_samples import StepClock, sample_entry, sample_pixels
from tests.helpers.runtime_rig import (
    BAD,
    DEADLINE_S,
    GOOD,
    MemorySink,
    Rig,
    line_config,
)
from tests.helpers.station_clock import StationClock

MASTERS = """format: 1
product: sim-surface
masters:
- {id: 1, expect: PASS, picture: 1.png}
- {id: 2, expect: REJECT, defect_class: scratch, picture: 2.png}
"""


# --- the client alone ---------------------------------------------------------------------------


class ScriptedStation:
    """Answers each call with the next of ``answers``; an exception is raised."""

    def __init__(self, answers: Sequence[Mapping[str, Any] | Exception]) -> None:
        self.answers = list(answers)
        self.actions: list[str] = []

    def call(
        self, command: str, *, timeout_s: float | None = None, **arguments: object
    ) -> Mapping[str, Any]:
        assert command == "challenge" and timeout_s is None
        self.actions.append(str(arguments["action"]))
        assert (arguments["action"] == "begin") == ("token" not in arguments)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Silent:
    """Puts every master on the line at once."""

    def __init__(self, *, willing: bool = True) -> None:
        self.willing = willing
        self.waited: list[str] = []
        self.results: list[object] = []

    def ask(self, state: Mapping[str, Any], alive: object) -> bool:
        del state, alive
        return self.willing

    def ready(self, master: Mapping[str, Any]) -> None:
        del master

    def waiting(self, why: str) -> None:
        self.waited.append(why)

    def result(self, result: Mapping[str, Any]) -> None:
        self.results.append(result)


def state(phase: str, *, results: int = 0, outcome: str | None = None) -> dict[str, Any]:
    return {
        "phase": phase,
        "token": "t",
        "next": {"id": "1"},
        "results": [{"master": str(n)} for n in range(results)],
        "outcome": outcome,
    }


def client(
    answers: Sequence[Mapping[str, Any] | Exception], prompter: Silent
) -> tuple[ChallengeRun, ScriptedStation]:
    clock, station = HandClock(), ScriptedStation(answers)
    run = ChallengeRun(
        station,
        prompter,
        part_timeout_s=1.0,
        belt_timeout_s=1.0,
        clock_s=lambda: clock.mono_ns / 1e9,
        sleep=clock.move,
    )
    return run, station


BUSY = CommandRefused("BeltNotReady", "parts are on the belt")


def test_the_client_waits_for_the_belt_and_for_each_master() -> None:
    done = state("done", results=1, outcome="passed")
    prompter = Silent()
    answers: list[Mapping[str, Any] | Exception] = [
        state("ask"),
        BUSY,
        BUSY,
        state("awaiting"),
        state("awaiting"),
        done,
    ]
    run, station = client(answers, prompter)
    assert run.run(author="technician") == done
    assert station.actions == ["begin", "next", "next", "next", "state", "state"]
    assert prompter.waited == ["parts are on the belt"] and len(prompter.results) == 1


def test_a_person_may_give_up() -> None:
    aborted = state("done", outcome="aborted")
    run, station = client([state("ask"), aborted], Silent(willing=False))
    assert run.run(author="technician")["outcome"] == "aborted"
    assert station.actions == ["begin", "abort"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([state("ask"), *[BUSY] * 12, state("done")], "Not ready within 1 s"),
        ([state("ask"), *[state("awaiting")] * 13, state("done")], "did not arrive within 1 s"),
    ],
)
def test_what_never_comes_aborts_the_challenge(
    answers: Sequence[Mapping[str, Any] | Exception], message: str
) -> None:
    run, station = client(answers, Silent())
    with pytest.raises(NotGood, match=message):
        run.run(author="technician")
    assert station.actions[-1] == "abort"


def test_a_refusal_reaches_the_person_even_if_aborting_fails() -> None:
    refusal = CommandRefused("UsageError", "no")
    run, station = client([state("ask"), refusal, CommandRefused("x", "gone")], Silent())
    with pytest.raises(CommandRefused, match="no"):
        run.run(author="technician")
    assert station.actions[-1] == "abort"


# --- through a station and its socket -------------------------------------------------------------


class TellingSink(MemorySink):
    """Tells the service of what is durable, as the station's sink does."""

    service: ChallengeService | None = None

    def write(self, batch: Sequence[FinishedPart], /) -> None:
        super().write(batch)
        if self.service is not None:
            self.service.recorded([part.record for part in batch])


class RigFeeder:
    """The person at the line."""

    is_clear = True

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def hold_back(self) -> None: ...

    def put_on(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        del picture, defective
        self.rig.part()

    def go_on(self) -> None: ...


@dataclasses.dataclass
class LockedStation:
    clock: StationClock
    rig: Rig
    service: ChallengeService
    socket: Path
    folder: Path

    def run(self, command: str, *arguments: str, expect: int = 0) -> None:
        """Run a command that talks to the station."""
        with self.clock.passing():
            run("challenge", command, "--socket", self.socket, *arguments, expect=expect)

    @contextlib.contextmanager
    def client(self) -> Iterator[ControlClient]:
        with self.clock.passing(), ControlClient(self.socket, timeout_s=DEADLINE_S) as client:
            yield client


@pytest.fixture
def station(
    tmp_path: Path, request: pytest.FixtureRequest, clock: StationClock
) -> Iterator[LockedStation]:
    """Locked until a challenge is passed; the masters' shades are the test's parameter."""
    shades = getattr(request, "param", [GOOD, BAD])
    folder = tmp_path
    (folder / "masters.yaml").write_text(MASTERS)
    for name in ("1.png", "2.png"):
        (folder / name).touch()
    plan = sample_plan(folder)
    config = line_config(digest=plan.digest)
    plan = dataclasses.replace(plan, config=config)
    sink = TellingSink()
    rig = Rig(clock, config=config, shades=shades, sink=sink)
    service = ChallengeService(
        data_dir=folder / "data",
        policy=Challenge(masters=folder / "masters.yaml", when=(Occasion.RECIPE,)),
        plan=lambda: plan,
        clock=clock,
        read_picture=lambda path: np.zeros((1, 1), np.uint8),
        feeder=RigFeeder(rig),
    )
    assert service.locks_now
    rig.station.lock()
    service.attach(rig.station)
    sink.service = service
    socket = folder / "s.sock"
    server = ControlServer(path=socket, controlled=rig.station, challenge=service.command)
    thread = clock.thread(service.run)
    with rig:
        server.start()
        thread.start()
        yield LockedStation(clock, rig, service, socket, folder)
        service.stop()
        thread.join()
        server.stop()


def run(*arguments: object, expect: int = 0) -> None:
    words = [str(word) for word in arguments]
    assert run_command_line(application, program="edgeinspect", arguments=words) == expect


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_locked_station_is_unlocked_by_its_masters(
    station: LockedStation, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, sink = station.rig, station.rig.sink
    rig.wait_until(lambda: rig.station.state is StationState.LOCKED)
    rig.part()
    rig.wait_for_records(1)
    assert sink.written[0].record.verdict.doubt is Doubt.LOCKED
    station.run("status", "--json", expect=1)
    assert last_json(capsys)["due"].keys() == {"never_passed"}
    rig.wait_until(lambda: rig.station.parts_in_flight == 0)
    station.run("run", "--author", "technician", "--json")
    state = last_json(capsys)
    assert (state["outcome"], state["number"], "token" in state) == ("passed", 1, False)
    assert [result["gate_outcome"] for result in state["results"]] == ["passed", "rejected"]
    assert state["results"][1]["remarks"] != []  # no confirm sensor is wired
    rig.wait_until(lambda: rig.station.state is StationState.INSPECTING)
    rig.part()
    rig.wait_for_records(4)
    assert sink.written[-1].record.verdict.kind is VerdictKind.PASS
    station.run("status")
    assert "No challenge is due" in capsys.readouterr().out
    page = Path(state["html"]).read_text()
    assert "PASSED" in page and "No confirm sensor is wired" in page
    data = station.folder / "data"
    run("challenge", "list", "--data-dir", data, "--json")
    assert [c["outcome"] for c in last_json(capsys)["challenges"]] == ["passed"]
    html = station.folder / "print.html"
    run("challenge", "show", 1, "--data-dir", data, "--html", html, "--json")
    assert last_json(capsys)["author"] == "technician" and html.exists()
    run("challenge", "show", 2, "--data-dir", data, expect=1)
    run("challenge", "list", "--data-dir", data)
    run("challenge", "show", 1, "--data-dir", data)
    assert "as expected" in capsys.readouterr().out


@pytest.mark.parametrize("station", [[GOOD, GOOD]], indirect=True)
def test_a_blind_station_fails_and_stays_locked(
    station: LockedStation, capsys: pytest.CaptureFixture[str]
) -> None:
    station.run("run", "--author", "technician", expect=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "failed: not as expected: 2" in shown and "stays locked" in shown
    assert "NOT as expected: the verdict: REJECT expected, found PASS" in shown
    assert station.rig.station.state is StationState.LOCKED
    written = len(station.rig.sink.written)
    station.rig.part()
    station.rig.wait_for_records(written + 1)
    assert station.rig.sink.written[-1].record.verdict.doubt is Doubt.LOCKED


def test_what_the_station_finds_wrong_ends_the_command_as_it_should(
    station: LockedStation, capsys: pytest.CaptureFixture[str]
) -> None:
    (station.folder / "masters.yaml").write_text(MASTERS.replace("scratch", "dent"))
    command = ("run", "--author", "technician", "--json")
    station.run(*command, expect=3)
    assert (
        "masters.yaml:5: masters[1].defect_class is 'dent'" in last_json(capsys)["error"]["message"]
    )
    station.run(*command, "--masters", str(station.folder / "masters.yaml"), expect=2)
    with station.client() as control:
        assert control.call("challenge", action="state")["phase"] == "none"


def test_the_status_command_names_the_lock(
    station: LockedStation, capsys: pytest.CaptureFixture[str]
) -> None:
    station.rig.wait_until(
        lambda: "challenge_due" in str(station.rig.station.status()["open_alarms"])
    )
    with station.client() as control:
        status = control.status()
    assert status["state"] == "locked" and status["challenge"]["locks"] is True
    assert status["faults"]["challenge_due"]["active"] is True


# --- files, paper, terminal -------------------------------------------------------------------


def test_sample_masters_are_a_valid_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("challenge", "sample", tmp_path / "m", "--json")
    path = last_json(capsys)["file"]
    run("challenge", "check", path, "--json")
    state = last_json(capsys)
    assert [m["expected"].split()[0] for m in state["masters"]] == [
        "PASS",
        "REJECT",
        "REJECT",
        "REJECT",
        "PASS",
    ]
    run("challenge", "sample", tmp_path / "m", expect=2)
    run("challenge", "check", path)
    run("challenge", "check", tmp_path / "none.yaml", expect=3)


def test_nothing_is_asked_where_nobody_can_answer(tmp_path: Path) -> None:
    from edgeinspect.cli.challenge.challenge_command import _Terminal

    with (tmp_path / "stdin").open("w+") as no_terminal, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdin", no_terminal)
        with pytest.raises(UsageError, match="not a terminal"):
            _Terminal(ask=True, quiet=False)


ASKING = """
import sys
from edgeinspect.cli.challenge.challenge_command import _Terminal
state = {"next": {"id": "7", "description": "scratched", "expected": "REJECT"},
         "results": [], "masters": 3}
terminal = _Terminal(ask=True, quiet=False)
print("answers", terminal.ask(state, lambda: None), terminal.ask(state, lambda: None))
"""


def test_a_person_is_asked_in_a_terminal() -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", ASKING], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        shown = read_until(ours, "q: cancel.")
        os.write(ours, b"\n")
        read_until(ours, "q: cancel.")
        os.write(ours, b"q\n")
        shown += read_until(ours, "False")
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
        os.close(ours)
    assert "1 of 3: master 7  scratched" in shown
    assert "answers True False" in shown


def read_until(descriptor: int, word: str) -> str:
    text, deadline = "", time.monotonic() + 60
    while word not in text:
        assert time.monotonic() < deadline, text
        if select.select([descriptor], [], [], 1.0)[0]:
            text += os.read(descriptor, 4096).decode(errors="replace")
    return text


def test_the_page_escapes_everything(tmp_path: Path) -> None:
    nasty = "<script>x</script>"
    moment = {"wall": "2026-03-02T07:00:00+00:00", "synchronized": False}
    record = {
        **dict.fromkeys(
            ("station", "product", "recipe_digest", "bundle", "detail", "author", "reason"), nasty
        ),
        "number": 3,
        "recipe_revision": 1,
        "outcome": "failed",
        "masters_file": nasty,
        "masters_sha256": "s",
        "demanded_by": {"shift": nasty},
        "confirm_wired": False,
        "began": moment,
        "ended": moment,
        "simulated": True,
        "results": [
            {
                **dict.fromkeys(
                    ("master", "description", "expected", "verdict", "reason", "gate_outcome"),
                    nasty,
                ),
                "good": False,
                "score": None,
                "part_id": 9,
                "findings": [nasty],
                "worst_region": {"x": 1, "y": 2, "width": 3, "height": 4},
                "expected_region": {"x": 5, "y": 6, "width": 7, "height": 8},
            }
        ],
    }
    assert "What the station saw" not in report_html(record).decode()
    picture = np.full((30, 40, 3), 90, np.uint8)
    text = report_html(record, {9: picture, 10: picture}).decode()
    assert text.count("data:image/jpeg;base64,") == 1
    assert '<rect x="1" y="2" fill="none" width="3" height="4"' in text
    assert '<rect x="5" y="6" fill="none" width="7" height="8"' in text
    assert "<script>" not in text and text.count("&lt;script&gt;") > 10
    assert "NOT as expected" in text and "nothing real has been proven" in text
    assert "x 1, y 2, 3 × 4 px" in text


@pytest.mark.slow
def test_the_simulated_line_from_sample_masters_to_the_page(
    clock: StationClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("challenge", "sample", tmp_path / "masters")
    example = Path(__file__).parents[2] / "edgeinspect/settings/examples/normally-rejecting.yaml"
    config = tmp_path / "station.yaml"
    config.write_text(
        example.read_text() + "challenge: {masters: masters/masters.yaml, when: [start, recipe]}\n"
    )
    with (
        clock.in_charge(hw_clock.__name__),
        AssembledStation(plan_station(load_station(config))) as assembled,
        clock.passing(),
    ):
        capsys.readouterr()
        run("challenge", "run", "--config", config, "--author", "technician", "--json")
        state = last_json(capsys)
        assert state["outcome"] == "passed"
        outcomes = [result["gate_outcome"] for result in state["results"]]
        assert outcomes == ["passed", *["reject_confirmed"] * 3, "passed"]
        assert ChallengeStore(tmp_path / "data").read(1)["simulated"] is True
        change = ("--set", "thresholds.scratch.reject=0.97", "--reason", "a change")
        run("recipe", "edit", "--config", config, *change, "--author", "technician", "--json")
        revision = last_json(capsys)["revision"]
        run("recipe", "apply", "--config", config, revision, "--reason", "try", "--json")
        digest = last_json(capsys)["recipe_digest"]
        run("challenge", "status", "--config", config, "--json", expect=1)
        assert last_json(capsys)["due"].keys() == {"recipe"}
        run("challenge", "run", "--config", config, "--author", "technician", "--json")
        assert last_json(capsys)["outcome"] == "passed"
        with RecordReader(tmp_path / "data") as reader:
            under_new = list(reader.parts(PartFilter(recipe_digest=digest)))
        masters = {r["part_id"] for r in ChallengeStore(tmp_path / "data").read(2)["results"]}
        last_master = max(masters)
        before = [p.record for p in under_new if p.record.part_id < last_master]
        passed = {r.part_id for r in before if r.gate_outcome is GateOutcome.PASSED}
        assert passed and passed <= masters  # nothing else passed under the unproven recipe
    assert assembled.station.exit_code == 0


def test_pictures_of_masters_come_from_the_records(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, clock=StepClock()) as writer:
        writer.write([sample_entry(1, picture=True), sample_entry(2)])
    record = {"results": [{"part_id": part_id} for part_id in (1, 2, 3)]}
    found = stored_pictures(tmp_path, record)
    assert found.keys() == {1}
    assert np.array_equal(found[1], sample_pixels(1))
    assert stored_pictures(tmp_path / "nowhere", record) == {}
