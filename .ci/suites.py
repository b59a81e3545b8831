#!/usr/bin/env python3
"""What CI runs: the table of steps, and the runner that watches the clock.

    python3 .ci/suites.py

A step of the main lane runs after the one above it. Steps beside it, the emulated machines, run one
after the other in a lane of their own: each is about one thread of the host. What they run on is
built in the idle lane, with the processor time that nobody else wants.

A step that fails, fails the run. A step is skipped, by name and with the reason, where what it runs
on is missing or where too little of the budget is left. When the budget is spent, every step that
still runs is stopped: CI itself ends after 90 minutes, without a word.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOGS = REPOSITORY / "build" / "ci"
BUDGET_S = 57 * 60
STOP_S = 20.0
"""How long a stopped step may take to end."""
INSTALL = "apt-get install -y -qq --no-install-recommends"


class Lane(Enum):
    """Where a step runs: in the main sequence, or beside it."""

    MAIN = "main"
    BESIDE = "beside"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table.

    Attributes:
        command: for bash, from the repository's root.
        needs_s: on a busy machine; with less than that left of the budget it is skipped.
        lane: beside the main lane a step's output is kept in a file and shown when it ends.
        after: the step that builds what this one runs on.
        root: it can only run as root.
        counts: a failure fails the run. Otherwise it is reported and fails nothing.
    """

    name: str
    command: str
    needs_s: float = 0.0
    lane: Lane = Lane.MAIN
    after: str | None = None
    root: bool = False
    counts: bool = True


def built(name: str, command: str) -> Step:
    """A step that builds something at idle priority; without it, its suite is skipped."""
    return Step(name, command, lane=Lane.IDLE, root=True, counts=False)


STEPS = (
    # Programs that read what the image carries; a test whose program is missing is skipped by name.
    Step(
        "programs",
        f"{{ apt-get update -qq && {INSTALL} minisign shellcheck openssh-server sudo systemd rauc "
        "openssl libsixel-bin; } > /dev/null",
        root=True,
        counts=False,
    ),
    Step("install", "make --silent .venv/.dev"),
    # Alone on the machine: some of its tests watch a live station. What is built comes after it.
    Step("check", "make check"),
    built(
        "image-built",
        f".venv/bin/python -m image.qemu.build --packages | xargs {INSTALL} && make image-qemu",
    ),
    built(
        "vm-built",
        f".venv/bin/python -m tests.vm packages | xargs {INSTALL} && "
        ".venv/bin/python -m tests.vm build",
    ),
    built("camera-built", "PYTHON=python3 tests/camera_bench/build.sh --install-packages"),
    Step("docs", "make docs"),
    Step("demo", 'make demo DEMO="--parts 300 --plain"'),
    Step("image", "make test-image", 1200, Lane.BESIDE, after="image-built"),
    Step("vm", "make test-vm", 900, Lane.BESIDE, after="vm-built"),
    Step("slow", "make test-slow", 1100),
    Step("simulation", "make test-million SIM_PARTS=60000", 500),
    Step("kills", "make test-kills KILLS=2000", 500),
    Step("camera", "make test-camera", 180, after="camera-built"),
    # A new release of a library must not stop ours.
    Step("newest", "make test-newest", 1200, counts=False),
)


class Process:
    """A step's command, in a process group of its own.

    A session of its own would share the processor equally, whatever the priority.
    """

    def __init__(self, command: Sequence[str], output: int | None) -> None:
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, process_group=0, stdin=subprocess.DEVNULL,
            stdout=output, stderr=None if output is None else subprocess.STDOUT,
        )  # fmt: skip

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and everything that it started."""
        os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Machine:
    """The clock, and what runs the commands."""

    def __init__(self, logs: Path = LOGS) -> None:
        self.root = os.geteuid() == 0
        self._began_s = time.monotonic()
        self._logs = logs
        logs.mkdir(parents=True, exist_ok=True)

    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began_s

    def wait(self) -> None:
        """Let a moment pass."""
        time.sleep(0.5)

    def start(self, step: Step) -> Process:
        """Run a step's command."""
        command = ["bash", "-o", "pipefail", "-c", step.command]
        if step.lane is Lane.MAIN:
            return Process(command, None)
        idle = ["chrt", "--idle", "0"] if step.lane is Lane.IDLE else []
        with self._log(step).open("wb") as log:
            return Process([*idle, *command], log.fileno())

    def output(self, step: Step) -> str:
        """What a step that is not in the main lane wrote."""
        log = self._log(step)
        return log.read_text(errors="replace") if log.exists() else ""

    def say(self, text: str) -> None:
        """Print for people."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _log(self, step: Step) -> Path:
        return self._logs / f"{step.name}.log"


class Outcome(Enum):
    """How a step ended."""

    OK = "ok"
    FAILED = "FAILED"
    IGNORED = "failed, which fails nothing"
    SKIPPED = "SKIPPED"


class Runner:
    """Starts each lane's next step when its turn has come, until all have an outcome."""

    def __init__(self, machine: Machine, steps: Sequence[Step], budget_s: float = BUDGET_S) -> None:
        self._machine = machine
        self._steps = {step.name: step for step in steps}
        self._budget_s = budget_s
        self._waiting: dict[Lane, list[Step]] = {lane: [] for lane in Lane}
        self._waiting[Lane.MAIN] = list(steps)
        self._running: dict[Lane, tuple[Step, Process, float]] = {}
        self.outcomes: dict[str, Outcome] = {}

    def run(self) -> int:
        """Run everything; 0 if nothing failed that counts."""
        try:
            while any(self._is_busy(lane) for lane in (Lane.MAIN, Lane.BESIDE)):
                for lane in Lane:
                    self._look_at(lane)
                self._machine.wait()
        finally:  # builds whose suite has been skipped; everything, if the run is interrupted
            for _, process, _ in self._running.values():
                process.stop()
        return self._summary()

    def _is_busy(self, lane: Lane) -> bool:
        return bool(self._waiting[lane]) or lane in self._running

    def _look_at(self, lane: Lane) -> None:
        if lane in self._running:
            self._look_at_running(lane)
        while lane not in self._running and self._waiting[lane]:
            step = self._waiting[lane][0]
            if step.lane is not lane:  # its turn has come, in a lane of its own
                self._waiting[step.lane].append(step)
            elif reason := self._reason_to_skip(step):
                self._end(step, Outcome.SKIPPED, reason)
            elif step.after and step.after not in self.outcomes:
                return
            else:
                where = "" if lane is Lane.MAIN else f" ({lane.value})"
                self._machine.say(f"\n=== {step.name}{where}: {step.command}")
                self._running[lane] = step, self._machine.start(step), self._machine.now_s()
            self._waiting[lane].pop(0)

    def _look_at_running(self, lane: Lane) -> None:
        step, process, began_s = self._running[lane]
        code = process.ended()
        took = f"after {self._machine.now_s() - began_s:.0f} s"
        if code is None and self._left_s() > 0:
            return
        del self._running[lane]
        if lane is Lane.BESIDE:
            self._machine.say(self._machine.output(step))
        if code is not None:
            self._end(step, Outcome.FAILED if code else Outcome.OK, took)
            return
        process.stop()
        # A suite that may be skipped is as slow as its host; that is no fault of what it tests.
        may_skip = step.needs_s or lane is Lane.BESIDE
        outcome = Outcome.SKIPPED if may_skip else Outcome.FAILED
        self._end(step, outcome, f"stopped {took}, as the time for the whole run is over")

    def _reason_to_skip(self, step: Step) -> str:
        if step.root and not self._machine.root:
            return "it needs root"
        if self._left_s() < step.needs_s or self._left_s() <= 0:
            return f"it needs {step.needs_s:.0f} s and {max(self._left_s(), 0):.0f} s are left"
        if step.after and self.outcomes.get(step.after, Outcome.OK) is not Outcome.OK:
            last = self._machine.output(self._steps[step.after]).splitlines()[-5:]
            return "\n".join([f"what it runs on is missing: {step.after}", *last])
        return ""

    def _left_s(self) -> float:
        return self._budget_s - self._machine.now_s()

    def _end(self, step: Step, outcome: Outcome, why: str) -> None:
        if outcome is Outcome.FAILED and not step.counts:
            outcome = Outcome.IGNORED
        self.outcomes[step.name] = outcome
        self._machine.say(f"\n=== {step.name}: {outcome.value}, {why}")

    def _summary(self) -> int:
        self._machine.say(f"\n=== CI took {self._machine.now_s():.0f} s")
        for outcome in (Outcome.IGNORED, Outcome.SKIPPED, Outcome.FAILED):
            if names := [name for name, found in self.outcomes.items() if found is outcome]:
                self._machine.say(f"=== {outcome.value}: {', '.join(names)}")
        return int(Outcome.FAILED in self.outcomes.values())


if __name__ == "__main__":
    os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    sys.exit(Runner(Machine(), STEPS).run())
