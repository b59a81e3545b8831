"""A technician's session in a real pseudo-terminal of 80 x 24, on a running simulated line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeinspect.errors import StorageFault
from edgeinspect.line.config import ClassThresholds
from edgeinspect.line.verdict import judge_scores
from edgeinspect.part import VerdictKind
from edgeinspect.records import RecordReader, StoredPart
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_store import RecipeStore
from tests.helpers.terminal import DEADLINE_S, Terminal

EXAMPLE = Path("edgeinspect/settings/examples/normally-rejecting.yaml")
PROGRAM = (sys.executable, "-m", "edgeinspect")


@dataclass
class Line:
    folder: Path
    process: subprocess.Popen[str]

    @property
    def config(self) -> Path:
        return self.folder / "station.yaml"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def parts(self) -> list[StoredPart]:
        if not (self.data_dir / "records.sqlite3").exists():
            return []
        with RecordReader(self.data_dir) as reader:
            return list(reader.parts())

    def wait_for_parts(self, count: int, *, under: str | None = None) -> list[StoredPart]:
        """At least ``count`` of them, inspected under a recipe digest."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the station has ended"
            with suppress(StorageFault):  # the station is just making its records
                found = [p for p in self.parts() if under in (None, p.record.recipe_digest)]
                if len(found) >= count:
                    return found
            time.sleep(0.2)
        raise AssertionError(f"{count} parts did not come")

    def stop(self) -> dict[str, object]:
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=DEADLINE_S)
        printed: dict[str, object] = json.loads(out.splitlines()[-1])
        return printed


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    config = tmp_path / "station.yaml"
    root = Path(__file__).resolve().parents[2]
    config.write_text((root / EXAMPLE).read_text())
    process = subprocess.Popen(
        [*PROGRAM, "run", "--config", str(config), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Line(tmp_path, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def terminal(line: Line) -> Iterator[Terminal]:
    opened = open_screen(line)
    try:
        yield opened
    finally:
        opened.close()


def open_screen(line: Line) -> Terminal:
    line.wait_for_parts(25)
    environment = {
        **os.environ,
        "TERM": "xterm-256color",
        "XDG_STATE_HOME": str(line.folder / "state"),
    }
    command = [*PROGRAM, "tune", "--config", str(line.config), "--author", "ada"]
    return Terminal(command, environment=environment)


def counts(text: str, row: str) -> list[int]:
    """pass, review, reject and doubt of a row of the table."""
    found = next(shown for shown in text.splitlines() if shown.startswith(row))
    return [int(word.replace(",", "")) for word in found.removeprefix(row).split()[:4]]


def limits_of(recipe: Recipe) -> list[ClassThresholds]:
    return [
        ClassThresholds(name=entry.name, review=entry.review, reject=entry.reject)
        for entry in recipe.thresholds
    ]


def judged(part: StoredPart, limits: list[ClassThresholds]) -> VerdictKind:
    """What the thresholds make of a recorded part."""
    record = part.record
    if record.verdict.kind is VerdictKind.CANNOT_INSPECT or record.inspection is None:
        return VerdictKind.CANNOT_INSPECT
    by_name = {limit.name: limit for limit in limits}
    return judge_scores(record.inspection.scores, [by_name[name] for name in part.classes]).kind


def test_a_threshold_is_moved_predicted_applied_and_holds(line: Line, terminal: Terminal) -> None:
    text = terminal.wait_for(lambda shown: re.search(r"\b[1-9]\d* parts", shown) is not None)
    assert len(terminal.lines) == 24
    assert "sim-surface revision 1" in text
    terminal.wait_for("inspecting")
    terminal.press("l")
    terminal.wait_for("still")
    terminal.press("<" * 60)
    terminal.wait_for("reject from 0.000")
    terminal.press(">\t>")
    terminal.wait_for("reject from 0.020")
    text = terminal.wait_for("review from 0.020")
    in_force, drafted = counts(text, "in force"), counts(text, "as drafted")
    assert terminal.frames > 0, "the screen is not drawn in whole frames"
    assert sum(in_force) == sum(drafted)

    store = RecipeStore(line.data_dir / "recipes")
    before = store.active("sim-surface")
    now = limits_of(before)
    name = re.search(r"class (\S+)", text)
    assert name is not None
    wanted = [
        ClassThresholds(name=x.name, review=0.02, reject=0.02) if x.name == name[1] else x
        for x in now
    ]
    seen = line.parts()[: sum(in_force)]
    order = (VerdictKind.PASS, VerdictKind.REVIEW, VerdictKind.REJECT, VerdictKind.CANNOT_INSPECT)
    for limits, predicted in ((now, in_force), (wanted, drafted)):
        found = [judged(part, limits) for part in seen]
        assert [found.count(kind) for kind in order] == predicted
    assert drafted[2] > in_force[2]

    terminal.press("a")
    terminal.wait_for("Apply as a new revision")
    terminal.press("shift 2: try\r")
    terminal.wait_for("Revision 2 is in force")
    after = store.active("sim-surface")
    assert (after.revision, after.parent, after.author) == (2, 1, "ada")
    assert after.reason == "shift 2: try"
    assert limits_of(after) == [
        next(x for x in wanted if x.name == entry.name) for entry in after.thresholds
    ]
    newest = line.parts()[-1].record.recipe_digest
    under_new = line.wait_for_parts(1)
    deadline = time.monotonic() + DEADLINE_S
    while newest == under_new[0].record.recipe_digest:
        assert time.monotonic() < deadline, "no part came under the new recipe"
        newest = line.parts()[-1].record.recipe_digest
    followed = line.wait_for_parts(20, under=newest)
    for part in followed:
        assert part.record.verdict.kind is judged(part, wanted), part.record.part_id
    terminal.press("q")
    assert terminal.wait() == 0

    printed = line.stop()
    stored = [part.record.part_id for part in line.parts()]
    assert stored == list(range(stored[0], stored[0] + len(stored))), "a trigger without a record"
    assert printed["counts"]["triggers"] == len(stored)  # type: ignore[index]
    assert "events_lost" not in printed["faults"]  # type: ignore[operator]


def test_a_dropped_connection_loses_nothing_and_the_line_goes_on(
    line: Line, terminal: Terminal
) -> None:
    terminal.wait_for("inspecting")
    terminal.press("<g")
    terminal.wait_for("is labelled good")
    terminal.hang_up()
    assert terminal.wait() in (129, -signal.SIGHUP)
    again = open_screen(line)
    try:
        text = again.wait_for("Your last draft was restored")
        assert "1 of them drafted" in text
        again.wait_for(lambda shown: re.search(r"good +─*", shown) is not None)
        again.press("q")
        assert again.wait() == 0
    finally:
        again.close()
    assert line.process.poll() is None
    line.stop()
