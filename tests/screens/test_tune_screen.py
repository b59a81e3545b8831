"""The tuning screen, driven by keys through textual's pilot; nothing waits for a clock."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from edgeinspect.errors import RecipeConflict, StorageFault, UsageError
from edgeinspect.health.compare import Health
from edgeinspect.labels.label_store import Label, LabelKind
from edgeinspect.line.config import ClassThresholds
from edgeinspect.screens.tune.dialogs import Notice, ReasonDialog
from edgeinspect.screens.tune.evidence import Parts
from edgeinspect.screens.tune.source import InForce
from edgeinspect.screens.tune.tune_screen import TuneApp
from tests.helpers.tune_screen_samples import (
    THRESHOLDS,
    MemorySource,
    label_of,
    many_parts,
    parts_of,
)

SIX = [[0.1, 0.1], [0.45, 0.1], [0.59, 0.2], [0.62, 0.1], [0.9, 0.1], [0.2, 0.8]]
"""Scratch and pit scores: PASS, REVIEW, REVIEW, REJECT, REJECT, REJECT."""


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


@asynccontextmanager
async def screen(
    source: MemorySource, tmp_path: Path, *, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[TuneApp, Pilot[int]]]:
    draft_file = tmp_path / "state" / "draft.json"
    app = TuneApp(source, source.in_force(), draft_file=draft_file, poll_s=None)
    async with app.run_test(size=size) as pilot:
        await settle(app, pilot)
        yield app, pilot


async def settle(app: TuneApp, pilot: Pilot[int]) -> None:
    """Until every worker has ended and what it brought is shown."""
    await app.workers.wait_for_complete()
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()


async def press(app: TuneApp, pilot: Pilot[int], *keys: str) -> None:
    await pilot.press(*keys)
    await settle(app, pilot)


def shown(app: TuneApp) -> str:
    """The screen as text, as a terminal of its size shows it."""
    strips = app.screen_stack[0]._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


def test_it_opens_with_histogram_counts_and_intervals(tmp_path: Path) -> None:
    labels = {
        1: label_of(1, LabelKind.GOOD),
        3: label_of(3, LabelKind.GOOD),
        5: label_of(5, LabelKind.DEFECTIVE),
    }

    async def test() -> None:
        async with screen(MemorySource(parts_of(SIX, doubts=1), labels=labels), tmp_path) as (
            app,
            _,
        ):
            text = shown(app)
            lines = text.splitlines()
            assert len(lines) == 24
            assert max(map(len, lines)) <= 80
            assert "cover revision 1" in lines[0]
            assert "7 parts" in lines[0]
            assert "health warn" in lines[0]
            assert "scratch" in lines[1]
            in_force = next(line for line in lines if line.startswith("in force")).split()
            assert in_force[2:] == ["1", "2", "3", "1", "14.29%"]
            # Exact intervals of 1 of 2 and 0 of 1 by Clopper and Pearson.
            assert "false rejects 1 of 2: 50.0% [1.3, 98.7]" in text
            assert "escapes 0 of 1: 0.0% [0.0, 97.5]" in text
            assert "fine" in lines[-1]
            assert lines[-1].rstrip().endswith("help")

    run(test)


def test_keys_move_the_chosen_threshold_and_everything_follows_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with screen(MemorySource(parts_of(SIX)), tmp_path) as (app, pilot):
            await press(app, pilot, "right", "full_stop")
            assert app.tuning.draft.drafted[0].reject == pytest.approx(0.602)
            await press(app, pilot, "shift+right")
            assert app.tuning.draft.drafted[0] == ClassThresholds(
                name="scratch", review=0.4, reject=0.622
            )
            assert app.tuning.would.rejects == 2
            assert app.tuning.flipped_part_ids.tolist() == [4]
            assert "1 verdicts change: 0 stricter, 1 milder" in shown(app)
            await press(app, pilot, "tab", "less_than_sign", "comma")
            assert app.tuning.draft.drafted[0].review == pytest.approx(0.379)
            await press(app, pilot, "c", "tab", "shift+left", "left")
            assert app.tuning.draft.drafted[1].reject == pytest.approx(0.679)
            assert "2 of them drafted" in shown(app)
            await press(app, pilot, "C", "r")
            assert app.tuning.draft.drafted == THRESHOLDS

    run(test)


def test_apply_asks_for_a_reason_and_undo_takes_it_back(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX))

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "a")
            assert "There is no draft yet" in shown(app)
            await press(app, pilot, "shift+right", "shift+right", "a")
            assert isinstance(app.screen, ReasonDialog)
            await press(app, pilot, "enter")
            assert isinstance(app.screen, ReasonDialog), "an empty reason is refused"
            await press(app, pilot, *"too", "space", *"strict", "enter")
            assert source.done == [("apply", app.tuning.draft.in_force, "too strict")]
            assert app.tuning.draft.in_force[0].reject == pytest.approx(0.64)
            assert not app.tuning.draft.is_changed
            assert "Revision 2 is in force." in shown(app)
            await press(app, pilot, "z", *"no", "enter")
            assert source.done[-1] == ("undo", THRESHOLDS, "no")
            assert app.tuning.draft.in_force == THRESHOLDS
            assert not app.tuning.draft.is_changed

    run(test)


def test_escape_applies_nothing_and_keeps_the_draft(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX))

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "right", "a", *"abc", "escape")
            assert source.done == []
            assert app.tuning.draft.is_changed
            assert "The draft was not applied" in shown(app)

    run(test)


def test_keys_typed_as_a_reason_do_nothing_else(tmp_path: Path) -> None:
    async def test() -> None:
        source = MemorySource(parts_of(SIX), pictured=[3])
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "right", "a")
            before = app.tuning.draft
            await press(app, pilot, *"gdurzlqc", "left", "tab")
            assert app.tuning.draft == before
            assert source.labels() == {}
            assert app.screen.query_one(Input).value == "gdurzlqc"

    run(test)


def test_a_refused_change_says_why_and_keeps_the_draft(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX))
    source.refuse = UsageError("Grace made revision 7 meanwhile.", next_action="Look at it first.")

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "right", "a", *"why", "enter")
            assert "Grace made revision 7 meanwhile. Look at it first." in shown(app)
            assert app.tuning.draft.is_changed
            await press(app, pilot, "a", *"now", "enter")
            assert len(source.done) == 1

    run(test)


class SlowSource(MemorySource):
    """Applies when it is let, and takes no label; its health fails once ``is_sick``."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.may_apply = threading.Event()
        self.is_sick = False

    def apply(self, thresholds: Sequence[ClassThresholds], reason: str, *, base: InForce) -> str:
        self.may_apply.wait()
        return super().apply(thresholds, reason, base=base)

    def label(self, part_id: int, kind: LabelKind, defect_class: str) -> Label:
        raise StorageFault("The disk refuses.")

    def health(self) -> Health:
        if self.is_sick:
            raise StorageFault("The disk refuses.")
        return super().health()


@pytest.mark.parametrize("failing", ["label", "health"])
def test_work_that_fails_during_a_change_does_not_let_a_second_one_start(
    tmp_path: Path, failing: str
) -> None:
    source = SlowSource(parts_of(SIX))

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            try:
                await pilot.press("right", "a", *"why", "enter")
                source.is_sick = True
                if failing == "label":
                    await pilot.press("g")
                else:
                    app.poll_health()
                while "The disk refuses." not in shown(app):
                    await pilot.pause()
                await pilot.press("a")
                await pilot.pause()
                assert not isinstance(app.screen, ReasonDialog)
                assert "Another change is still running" in shown(app)
            finally:
                source.may_apply.set()
            await settle(app, pilot)
            assert len(source.done) == 1
            await press(app, pilot, "right", "a", *"again", "enter")
            assert len(source.done) == 2, "the change has ended, so the next one may start"

    run(test)


def test_a_conflict_names_the_other_revision_and_the_next_try_stands_on_it(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX))

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "right")
            theirs = (THRESHOLDS[0], THRESHOLDS[0])
            source.apply(theirs, "theirs", base=source.in_force())
            source.refuse = RecipeConflict("Revision 2 was stored by grace.")
            await press(app, pilot, "a", *"mine", "enter")
            assert "Revision 2 was stored by grace." in shown(app)
            assert app.tuning.in_force.revision == 2
            assert app.tuning.draft.drafted[0].reject == pytest.approx(0.601)
            await press(app, pilot, "a", *"again", "enter")
            assert app.tuning.in_force.revision == 3

    run(test)


def test_labels_go_to_the_chosen_part_and_into_the_counts(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX), pictured=[2, 3, 4])

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            assert app.tuning.chosen_part() == 3, "with a picture, and nearest to 0.6"
            await press(app, pilot, "g", "down", "d", "down", "u")
            found = {n: (x.kind, x.defect_class) for n, x in source.labels().items()}
            assert found == {
                3: (LabelKind.GOOD, ""),
                4: (LabelKind.DEFECTIVE, "scratch"),
                2: (LabelKind.UNSURE, ""),
            }
            assert app.tuning.was.false_rejects.count == 1
            assert app.tuning.was.escapes.of == 1
            assert "Part 2 is labelled unsure." in shown(app)

    run(test)


def test_live_mode_takes_new_parts_and_standing_still_does_not(tmp_path: Path) -> None:
    source = MemorySource(parts_of(SIX))

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            source.more = parts_of([[0.59, 0.2], [0.99, 0.1]], first=6, doubts=2)
            app.poll()
            await settle(app, pilot)
            assert source.polls == [6]
            assert app.tuning.evidence.parts.part_ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
            assert app.tuning.was.cannot_inspect == 2
            assert " live" in shown(app)
            assert "inspecting" in shown(app)
            await press(app, pilot, "l")
            app.poll()
            await settle(app, pilot)
            assert source.polls == [6]
            assert "still" in shown(app)

    run(test)


@pytest.mark.parametrize("size", [(40, 10), (79, 24), (80, 23), (20, 4), (7, 2)])
def test_a_small_terminal_says_what_it_needs_and_loses_nothing(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async def test() -> None:
        source = MemorySource(parts_of(SIX))
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "shift+right")
            drafted = app.tuning.draft
            await pilot.resize_terminal(*size)
            await press(app, pilot, "right", "r", "g", "a")
            assert app.tuning.draft == drafted
            assert source.labels() == {}
            if size[0] >= 20 and size[1] >= 4:
                assert "needs" in shown(app)
            await pilot.resize_terminal(80, 24)
            await settle(app, pilot)
            assert "reject from 0.620" in shown(app)
            await pilot.resize_terminal(*size)
            await pilot.press("q")
        assert app.return_value == 0

    run(test)


@pytest.mark.parametrize(
    ("scores", "words"),
    [([], "No part has been recorded"), (SIX, "no part labelled good")],
)
def test_no_parts_or_no_labels_are_said(
    tmp_path: Path, scores: list[list[float]], words: str
) -> None:
    async def test() -> None:
        source = MemorySource(parts_of(scores))
        async with screen(source, tmp_path) as (app, pilot):
            assert words in shown(app)
            await press(app, pilot, "g", "down", "up", "c", "tab", "left", "shift+left", "enter")
            await press(app, pilot, "escape")
            await press(app, pilot, "a", *"why", "enter")
            assert len(source.done) == 1

    run(test)


def test_one_class_only(tmp_path: Path) -> None:
    import numpy as np

    from edgeinspect.screens.tune.evidence import Parts

    parts = Parts(part_ids=np.array([4, 9]), scores=np.array([[0.2], [0.7]]))
    source = MemorySource(parts, thresholds=THRESHOLDS[:1])

    async def test() -> None:
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "c", "C", "shift+left")
            assert "1 of 1" in shown(app)
            assert (app.tuning.would.passed, app.tuning.would.rejects) == (1, 1)

    run(test)


def test_help_health_and_a_closer_look(tmp_path: Path) -> None:
    async def test() -> None:
        async with screen(MemorySource(parts_of(SIX), pictured=[3]), tmp_path) as (app, pilot):
            for key in ("question_mark", "h", "enter"):
                await press(app, pilot, key)
                assert isinstance(app.screen, Notice), key
                await press(app, pilot, "escape")
                assert not isinstance(app.screen, Notice), key

    run(test)


def test_a_draft_outlives_the_program(tmp_path: Path) -> None:
    async def test() -> None:
        source = MemorySource(parts_of(SIX))
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "shift+left", "q")
        kept = json.loads((tmp_path / "state" / "draft.json").read_text())
        assert kept == {"scratch": [0.4, 0.58], "pit": [0.5, 0.7]}
        async with screen(source, tmp_path) as (app, pilot):
            assert app.tuning.draft.drafted[0].reject == 0.58
            assert "Your last draft was restored" in shown(app)
            await press(app, pilot, "r", "q")
        assert not (tmp_path / "state" / "draft.json").exists()

    run(test)


def test_a_dropped_connection_keeps_the_draft(tmp_path: Path) -> None:
    async def test() -> None:
        app = TuneApp(
            (source := MemorySource(parts_of(SIX))),
            source.in_force(),
            draft_file=tmp_path / "draft.json",
            poll_s=None,
        )
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(app, pilot)
            await press(app, pilot, "right")
            app._finish(129)
            await pilot.pause()
        assert app.return_value == 129
        assert json.loads((tmp_path / "draft.json").read_text())["scratch"] == [0.4, 0.601]

    run(test)


def test_another_persons_revision_is_taken_and_the_draft_stays(tmp_path: Path) -> None:
    async def test() -> None:
        source = MemorySource(parts_of(SIX))
        async with screen(source, tmp_path) as (app, pilot):
            await press(app, pilot, "right")
            drafted = app.tuning.draft.drafted
            source.apply((THRESHOLDS[0], THRESHOLDS[0]), "theirs", base=source.in_force())
            app._polled(("inspecting", None, source.in_force()))
            await pilot.pause()
            assert app.tuning.draft.drafted == drafted
            assert app.tuning.in_force.revision == 2
            assert "Revision 2 was activated outside this screen." in shown(app)

    run(test)


def test_larger_terminals_are_filled(tmp_path: Path) -> None:
    async def test() -> None:
        source = MemorySource(many_parts(2000), pictured=range(1, 2001))
        async with screen(source, tmp_path, size=(160, 50)) as (app, _):
            lines = shown(app).splitlines()
            assert len(lines) == 50
            assert 140 < max(map(len, lines)) <= 160
            assert any("▀" in line for line in lines)

    run(test)
