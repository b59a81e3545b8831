"""The station on folders of pictures, on virtual time."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.errors import DiskFull, UsageError
from edgeinspect.hw.folder_camera import list_pictures
from edgeinspect.line.config import GateKind, ReviewAction
from edgeinspect.part import Doubt, Frame, GateOutcome, Inspection, VerdictKind
from edgeinspect.runtime.replay import Replay
from edgeinspect.runtime.replay_result import ReplayResult
from tests.helpers.runtime_rig import BAD, GOOD, MemorySink, ShadeInspector, inspection, line_config


def folder_of(path: Path, shades: Sequence[int]) -> Path:
    for number, shade in enumerate(shades):
        cv2.imwrite(str(path / f"{number:03d}.png"), np.full((6, 8), shade, np.uint8))
    return path


def replay(folder: Path, *, workers: int = 2, **options: object) -> Replay:
    config = options.pop("config", line_config())
    inspectors = options.pop("inspectors", [ShadeInspector() for _ in range(workers)])
    return Replay(
        config=config,  # type: ignore[arg-type]
        inspectors=inspectors,  # type: ignore[arg-type]
        files=list_pictures(folder),
        folder=folder,
        **options,  # type: ignore[arg-type]
    )


def reported(results: Sequence[ReplayResult]) -> list[tuple[str, str, GateOutcome]]:
    return [(r.file, r.record.verdict.kind.value, r.record.gate_outcome) for r in results]


@pytest.mark.parametrize("kind", list(GateKind))
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_picture_gets_its_own_verdict_and_gate(
    kind: GateKind, workers: int, tmp_path: Path
) -> None:
    shades = [GOOD, BAD, GOOD, GOOD, BAD, BAD, GOOD, 140, GOOD, BAD, GOOD, GOOD]
    folder = folder_of(tmp_path, shades)
    run = replay(folder, workers=workers, config=line_config(kind=kind))
    results = list(run.results())
    expected = {GOOD: ("PASS", GateOutcome.PASSED), BAD: ("REJECT", GateOutcome.REJECTED)}
    expected[140] = ("REVIEW", GateOutcome.REJECTED)
    assert reported(results) == [
        (f"{number:03d}.png", *expected[shade]) for number, shade in enumerate(shades)
    ]
    assert [r.score for r in results] == pytest.approx([shade / 255 for shade in shades])
    assert run.summary.pictures == 12
    assert run.summary.verdicts == {"PASS": 7, "REJECT": 4, "REVIEW": 1, "CANNOT_INSPECT": 0}
    assert run.summary.reasons == {"scratch": 5}


def test_bad_files_become_parts_that_cannot_be_inspected(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [GOOD, GOOD])
    whole = (folder / "000.png").read_bytes()
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not a picture")
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    with (folder / "vast.png").open("wb") as stream:
        stream.truncate(1 << 40)
    (folder / "zz").symlink_to("/nowhere")
    results = list(replay(folder).results())
    assert [r.record.verdict.kind for r in results[:2]] == [VerdictKind.PASS] * 2
    bad = results[2:]
    assert {r.record.verdict.doubt for r in bad} == {Doubt.CAMERA_FAILED}
    assert [r.record.verdict.detail.split(" ", 1)[0] for r in bad] == [
        "empty.png",
        "notes.txt",
        "truncated.png",
        "vast.png",
        "zz",
    ]
    assert {r.record.gate_outcome for r in bad} == {GateOutcome.REJECTED}
    assert all(r.class_name == "" and r.score == 0.0 for r in bad)


def test_a_failing_inspection_costs_its_picture_only(tmp_path: Path) -> None:
    class FailsOnBad(ShadeInspector):
        def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
            if frame.pixels[0, 0] == BAD:
                raise RuntimeError("tripped")
            return super().inspect(frame, want_map=want_map)

    run = replay(folder_of(tmp_path, [GOOD, BAD, GOOD]), inspectors=[FailsOnBad()])
    doubts = [r.record.verdict.doubt for r in run.results()]
    assert doubts == [None, Doubt.ENGINE_FAILED, None]
    assert run.summary.reasons == {"engine_failed": 1}


def test_the_outcome_depends_on_the_pictures_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    folder = folder_of(tmp_path, rng.integers(0, 256, 40).tolist())

    def once(workers: int) -> list[object]:
        results = replay(folder, workers=workers).results()
        return [(r.file, r.record.verdict, r.record.gate_outcome) for r in results]

    assert once(1) == once(2) == once(2)


def test_two_inspectors_work_at_the_same_time(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=30)
    inspectors = [ShadeInspector(work=lambda: _wait(both)) for _ in range(2)]
    results = list(replay(folder_of(tmp_path, [GOOD] * 6), inspectors=inspectors).results())
    assert [r.record.verdict.kind for r in results] == [VerdictKind.PASS] * 6


def _wait(barrier: threading.Barrier) -> None:
    barrier.wait()


def test_equal_pictures_are_frozen_only_where_asked_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [GOOD, GOOD, GOOD])
    relaxed = [r.record.verdict.kind for r in replay(folder).results()]
    strict = [r.record.verdict.doubt for r in replay(folder, reject_frozen=True).results()]
    assert relaxed == [VerdictKind.PASS] * 3
    assert strict == [None, Doubt.FROZEN, Doubt.FROZEN]


def test_records_are_written_with_their_pictures_and_ids(tmp_path: Path) -> None:
    sink = MemorySink()
    run = replay(folder_of(tmp_path, [GOOD, BAD] * 40), sink=sink, next_part_id=1000)
    results = list(run.results())
    assert [entry.record for entry in sink.written] == [r.record for r in results]
    assert [r.record.part_id for r in results] == list(range(1000, 1080))
    assert all(entry.frame is not None for entry in sink.written)


def test_a_full_disk_ends_the_replay_with_the_fault(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.error = DiskFull("No space left.")
    with pytest.raises(DiskFull):
        list(replay(folder_of(tmp_path, [GOOD]), sink=sink).results())


def test_policy_of_the_recipe_is_kept(tmp_path: Path) -> None:

    config = dataclasses.replace(line_config(), review_action=ReviewAction.PASS)
    (result,) = replay(folder_of(tmp_path, [140]), config=config).results()
    assert result.record.verdict.kind is VerdictKind.REVIEW
    assert result.record.gate_outcome is GateOutcome.PASSED


def test_maps_are_handed_over_and_not_recorded(tmp_path: Path) -> None:
    from edgeinspect.part import Region, ScoreMap

    score_map = ScoreMap(np.zeros((2, 2, 1), np.float32), Region(0, 0, 8, 6), 4.0, ("scratch",))

    class Maps(ShadeInspector):
        def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
            plain = inspection(0.1)
            return dataclasses.replace(plain, score_map=score_map if want_map else None)

    run = replay(folder_of(tmp_path, [GOOD]), inspectors=[Maps()], want_map=True)
    (result,) = run.results()
    assert result.score_map is score_map
    assert result.record.inspection is not None
    assert result.record.inspection.score_map is None


def test_a_replay_can_be_left_early(tmp_path: Path) -> None:
    run = replay(folder_of(tmp_path, [GOOD] * 50))
    results = run.results()
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert run.summary.pictures == 1
    assert not [t for t in threading.enumerate() if t.name.startswith("replay")]


def test_a_replay_needs_an_inspector(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one inspector"):
        replay(folder_of(tmp_path, [GOOD]), inspectors=[])


def test_real_pictures_are_all_inspected(shared: Path) -> None:
    folder = shared / "data" / "magnetic_tile" / "MT_Crack"
    run = replay(folder)
    results = list(run.results())
    assert len(results) == len(list_pictures(folder)) > 100
    assert run.summary.verdicts["CANNOT_INSPECT"] == 0
