"""CI's runner: what it starts when, what it skips, and what fails a run."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def loaded() -> ModuleType:
    """CI's folder is hidden, so nothing imports from it by name."""
    spec = importlib.util.spec_from_file_location("suites", REPOSITORY / ".ci" / "suites.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["suites"] = module
    spec.loader.exec_module(module)
    return module


suites: Any = loaded()
Step, Lane, Outcome = suites.Step, suites.Lane, suites.Outcome
BUDGET_S = 100.0


@dataclass
class FakeMachine:
    """Commands are ``SECONDS`` or ``SECONDS EXIT_CODE``; its clock moves by a second a wait."""

    root: bool = True
    time_s: float = 0.0
    started: list[tuple[str, float]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def wait(self) -> None:
        self.time_s += 1.0

    def start(self, step: Any) -> FakeProcess:
        self.started.append((step.name, self.time_s))
        seconds, *code = step.command.split()
        end_s = self.time_s + float(seconds)
        return FakeProcess(self, step.name, end_s, int(code[0]) if code else 0)

    def output(self, step: Any) -> str:
        return f"output of {step.name}"

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class FakeProcess:
    machine: FakeMachine
    name: str
    end_s: float
    code: int

    def ended(self) -> int | None:
        return self.code if self.machine.time_s >= self.end_s else None

    def stop(self) -> None:
        self.machine.stopped.append(self.name)


def run(*steps: Any, machine: FakeMachine | None = None) -> tuple[int, FakeMachine, dict[str, str]]:
    machine = machine or FakeMachine()
    runner = suites.Runner(machine, steps, BUDGET_S)
    code = runner.run()
    return code, machine, {name: outcome.name for name, outcome in runner.outcomes.items()}


def build(name: str, command: str, **options: Any) -> Any:
    return Step(name, command, lane=Lane.IDLE, counts=False, **options)


def test_steps_of_the_main_lane_run_one_after_the_other_in_the_tables_order() -> None:
    code, machine, outcomes = run(Step("a", "10"), Step("b", "5"), Step("c", "0"))
    assert machine.started == [("a", 0.0), ("b", 10.0), ("c", 15.0)]
    assert (code, outcomes) == (0, {"a": "OK", "b": "OK", "c": "OK"})


def test_a_step_that_fails_fails_the_run_and_the_rest_still_runs() -> None:
    code, machine, outcomes = run(Step("a", "1 2"), Step("b", "1"))
    assert (code, outcomes) == (1, {"a": "FAILED", "b": "OK"})
    assert "=== FAILED: a" in machine.said


def test_emulated_machines_run_beside_the_main_lane_one_at_a_time() -> None:
    code, machine, _ = run(
        Step("check", "10"),
        Step("image", "30", lane=Lane.BESIDE),
        Step("vm", "10", lane=Lane.BESIDE),
        Step("slow", "20"),
    )
    assert code == 0
    started = dict(machine.started)
    assert started["check"] == 0.0  # nothing is beside the check, which is above them
    assert started["slow"] == 10.0 and started["image"] == 10.0
    assert started["vm"] == 40.0
    assert "output of image" in machine.said


def test_a_step_beside_that_fails_fails_the_run() -> None:
    assert run(Step("image", "5 1", lane=Lane.BESIDE), Step("slow", "1"))[::2] == (
        1,
        {"image": "FAILED", "slow": "OK"},
    )


def test_what_may_fail_is_named_and_fails_nothing() -> None:
    code, machine, outcomes = run(Step("newest", "1 2", counts=False))
    assert (code, outcomes) == (0, {"newest": "IGNORED"})
    assert "=== failed, which fails nothing: newest" in machine.said


def test_a_step_that_no_longer_fits_is_skipped_by_name_and_a_shorter_one_runs() -> None:
    code, machine, outcomes = run(Step("a", "50"), Step("b", "60", 51.0), Step("c", "10", 50.0))
    assert (code, outcomes) == (0, {"a": "OK", "b": "SKIPPED", "c": "OK"})
    assert "\n=== b: SKIPPED, it needs 51 s and 50 s are left" in machine.said
    assert "=== SKIPPED: b" in machine.said


def test_at_the_end_of_the_budget_a_step_that_must_run_is_stopped_and_has_failed() -> None:
    code, machine, outcomes = run(Step("check", "101"), Step("demo", "1"))
    assert (code, outcomes) == (1, {"check": "FAILED", "demo": "SKIPPED"})
    assert machine.stopped == ["check"]
    assert machine.now_s() <= BUDGET_S + 1
    assert any("stopped after 100 s" in text for text in machine.said)


def test_at_the_end_of_the_budget_a_suite_that_may_be_skipped_is_stopped_and_named() -> None:
    code, machine, outcomes = run(Step("check", "50"), Step("slow", "60", 40.0))
    assert (code, outcomes) == (0, {"check": "OK", "slow": "SKIPPED"})
    assert machine.stopped == ["slow"]
    assert "=== SKIPPED: slow" in machine.said


def test_an_emulated_machine_that_is_too_slow_for_its_host_is_stopped_and_skipped() -> None:
    code, machine, outcomes = run(Step("image", "101", lane=Lane.BESIDE), Step("slow", "1"))
    assert (code, outcomes) == (0, {"slow": "OK", "image": "SKIPPED"})
    assert machine.stopped == ["image"]
    assert "output of image" in machine.said


def test_a_suite_waits_for_what_it_runs_on() -> None:
    code, machine, _ = run(
        build("built", "40"), Step("a", "10"), Step("b", "5", 50.0, after="built")
    )
    assert code == 0
    assert machine.started == [("a", 0.0), ("built", 0.0), ("b", 41.0)]


def test_a_suite_whose_machine_comes_too_late_is_skipped_and_the_building_stopped() -> None:
    code, machine, outcomes = run(build("built", "60"), Step("b", "5", 50.0, after="built"))
    assert (code, outcomes) == (0, {"b": "SKIPPED"})
    assert machine.stopped == ["built"]
    assert machine.now_s() < 60.0


def test_a_suite_whose_machine_could_not_be_built_is_skipped_with_the_builders_last_words() -> None:
    code, machine, outcomes = run(build("built", "1 1"), Step("b", "5", after="built"))
    assert (code, outcomes) == (0, {"built": "IGNORED", "b": "SKIPPED"})
    assert "\n=== b: SKIPPED, what it runs on is missing: built\noutput of built" in machine.said


def test_without_root_nothing_is_built_and_its_suites_are_skipped_by_name() -> None:
    steps = (build("built", "1", root=True), Step("a", "1"), Step("b", "5", after="built"))
    code, machine, outcomes = run(*steps, machine=FakeMachine(root=False))
    assert (code, outcomes) == (0, {"built": "SKIPPED", "a": "OK", "b": "SKIPPED"})
    assert "=== SKIPPED: built, b" in machine.said


def test_whatever_runs_is_stopped_when_the_run_is_interrupted() -> None:
    class Interrupted(FakeMachine):
        def wait(self) -> None:
            raise KeyboardInterrupt

    machine = Interrupted()
    steps = (build("built", "1"), Step("image", "9", lane=Lane.BESIDE), Step("slow", "9"))
    with pytest.raises(KeyboardInterrupt):
        run(*steps, machine=machine)
    assert sorted(machine.stopped) == ["built", "image", "slow"]


def test_the_table_names_each_step_once_and_what_it_waits_for_stands_above_it() -> None:
    names = [step.name for step in suites.STEPS]
    assert len(names) == len(set(names))
    for index, step in enumerate(suites.STEPS):
        assert step.after is None or step.after in names[:index]
        assert " " not in step.name


def test_the_check_of_the_table_is_the_readmes_command() -> None:
    commands = [step.command for step in suites.STEPS]
    assert "make check" in commands
    makefile = (REPOSITORY / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in makefile if line[:1].isalpha() and ":" in line}
    assert "test" in next(line for line in makefile if line.startswith("check:")).split()
    made = [word for command in commands for word in command.split("make ")[1:]]
    assert {word.split()[0] for word in made if not word.startswith("--")} <= targets
    assert "make test" in (REPOSITORY / "README.md").read_text()


def test_the_whole_run_ends_well_before_ci_is_cut_off() -> None:
    assert suites.BUDGET_S <= 60 * 60
    assert sum(step.needs_s for step in suites.STEPS if step.lane is Lane.BESIDE) <= suites.BUDGET_S


@pytest.fixture
def real_machine(tmp_path: Path) -> Any:
    return suites.Machine(tmp_path)


def eventually(found: Callable[[], Any]) -> Any:
    while (result := found()) is None:
        os.sched_yield()
    return result


def test_a_real_step_has_an_exit_code_and_its_output_is_kept(real_machine: Any) -> None:
    step = Step("a", "echo one; echo two >&2; exit 3 | true", lane=Lane.BESIDE)
    assert eventually(real_machine.start(step).ended) == 3
    assert real_machine.output(step) == "one\ntwo\n"
    assert real_machine.output(Step("never-started", "true")) == ""


def test_a_real_step_ends_with_everything_that_it_started(
    real_machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "STOP_S", 0.0)
    command = "trap '' TERM; sleep 1000 & echo $!; exec sleep 1001"
    step = Step("a", command, lane=Lane.BESIDE)
    process = real_machine.start(step)
    child = int(eventually(lambda: real_machine.output(step).strip() or None))
    process.stop()
    assert process.ended() is not None

    def gone() -> bool | None:
        stat = Path(f"/proc/{child}/stat")
        return True if not stat.exists() or ") Z " in stat.read_text() else None

    assert eventually(gone)
