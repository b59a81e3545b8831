"""The demo's screen and its picture, drawn from values."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edgeinspect.cli.truth_account import account_table
from edgeinspect.part import (
    Frame,
    FrameMeta,
    GateOutcome,
    PartRecord,
    Region,
    ScoreMap,
    Verdict,
    VerdictKind,
)
from edgeinspect.runtime.line_view import Picture
from edgeinspect.screens.live.live_screen import LiveScreen
from edgeinspect.screens.live.live_view import BeltPart, LastPart, LiveView
from edgeinspect.screens.screen_picture import save_screen

MS = 1_000_000


def picture() -> Picture:
    record = PartRecord(
        17, 0, Verdict(VerdictKind.REJECT, "scratch", 0.97), GateOutcome.REJECT_CONFIRMED, "d"
    )
    scores = np.zeros((72, 104, 1), np.float32)
    scores[30:33, 50:53] = 0.97
    frame = Frame(FrameMeta(1, 0, 0), np.full((360, 480), 90, np.uint8))
    return Picture(record, frame, ScoreMap(scores, Region(32, 36, 416, 288), 4.0, ("scratch",)))


def view() -> LiveView:
    return LiveView(
        title="edgeinspect demo",
        state="inspecting",
        elapsed_s=83.0,
        parts_done=120,
        parts_total=300,
        places_ns={"trigger": 0, "lens": 60 * MS, "guard": 750 * MS, "gate": 900 * MS},
        belt=(
            BeltPart(at_ns=-500 * MS),
            BeltPart(at_ns=100 * MS),
            BeltPart(at_ns=500 * MS, verdict=VerdictKind.REJECT),
            BeltPart(at_ns=900 * MS, verdict=VerdictKind.REJECT, in_chute=True),
            BeltPart(at_ns=9_000 * MS, verdict=VerdictKind.PASS),
        ),
        gate_open=True,
        counts={"PASS": 90, "REJECT": 6, "REVIEW": 3, "CANNOT_INSPECT": 1, "triggers": 101},
        passed=90,
        reasons={"scratch": 6, "pit": 3, "no_frame": 1},
        stages_us={"frame_to_verdict": {"p50": 12_345.0, "p99": 23_456.0}},
        faults={"capture_failed": 1},
        last=(
            LastPart(
                part_id=120,
                verdict=VerdictKind.REJECT,
                reason="scratch",
                score=0.97,
                outcome=GateOutcome.REJECT_UNCONFIRMED,
            ),
            LastPart(
                part_id=119,
                verdict=VerdictKind.CANNOT_INSPECT,
                reason="no_frame",
                score=None,
                outcome=GateOutcome.REJECT_CONFIRMED,
            ),
        ),
        picture=picture(),
    )


def drawn(shown: LiveView, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(LiveScreen().render(shown, width=width, height=height))
    return captured.get().splitlines()


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (220, 60)])
def test_the_screen_fits_the_terminal(size: tuple[int, int]) -> None:
    width, height = size
    for shown in (view(), replace(view(), picture=None), replace(view(), belt=(), last=())):
        lines = drawn(shown, width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width


def test_the_screen_tells_what_happens() -> None:
    shown = "\n".join(drawn(view(), 80, 24))
    assert "120 of 300 parts  1:23" in shown
    assert "yield 90.0%  reject 6  review 3  doubt 1" in shown
    assert "gate open" in shown
    assert "frame to verdict       12.3    23.5" in shown
    assert "capture failed 1" in shown
    assert "part 17 REJECT scratch 0.97" in shown
    assert "120 REJECT scratch 0.97 not confirmed" in shown
    assert "119 CANNOT INSPECT no frame ✓" in shown
    stands = "\n".join(drawn(replace(view(), belt_moves=False, gate_open=False), 80, 24))
    assert "belt stopped" in stands
    assert "gate rejecting" in stands


def test_parts_stand_where_they_are() -> None:
    lane = drawn(view(), 81, 24)[3]
    assert [at for at, letter in enumerate(lane) if letter == "█"] == [12, 13, 32, 33]
    chute = drawn(view(), 81, 24)[5]
    assert chute.index("█") == 54


def test_an_unchanged_picture_is_drawn_once() -> None:
    screen = LiveScreen()
    screen.render(view())
    first = screen._drawn
    screen.render(replace(view(), parts_done=121))
    assert screen._drawn is first
    other = replace(picture(), record=replace(picture().record, part_id=18))
    screen.render(replace(view(), picture=other))
    assert screen._drawn is not first


def test_the_picture_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "demo.svg"
    save_screen(view(), path)
    svg = path.read_text()
    assert "yield" in svg
    assert "url(http" not in svg
    assert "@import" not in svg


def test_the_account_shows_what_matters_and_leaves_out_what_cannot_be() -> None:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    account = {"parts": 12_000, "escapes": 1, "lost": 0, "recalled": 0, "findings": ("part 3",)}
    with console.capture() as captured:
        console.print(account_table({**account, "doubts": {"no_frame": 2}}))
    shown = captured.get()
    assert "12,000" in shown
    assert "escapes" in shown
    assert "recalled" not in shown
    assert "Could not inspect: no frame 2" in shown
    assert "! part 3" in shown
