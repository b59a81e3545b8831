"""Finished parts reach the records, and a picture that does not is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgeinspect.errors import DataDisplaced
from edgeinspect.faults import FaultName
from edgeinspect.line.config import ClassThresholds
from edgeinspect.part import GateOutcome, PartRecord, Verdict, VerdictKind
from edgeinspect.records.images import ImagePolicy
from edgeinspect.records.reader import RecordReader
from edgeinspect.records.writer import Acknowledgement, RecordWriter
from edgeinspect.runtime.finished_part import FinishedPart
from edgeinspect.runtime.records_sink import RecordsSink
from tests.helpers.records_samples import StepClock
from tests.helpers.runtime_rig import inspection, make_frame

THRESHOLDS = (ClassThresholds(name="scratch", review=0.5, reject=0.6),)


def rejected(part_id: int) -> FinishedPart:
    frame = make_frame(sequence=part_id, exposure_mono_ns=part_id)
    record = PartRecord(
        part_id=part_id,
        trigger_mono_ns=part_id,
        verdict=Verdict(VerdictKind.REJECT, defect_class="scratch", score=0.9),
        gate_outcome=GateOutcome.REJECTED,
        recipe_digest="recipe-1",
        frame=frame.meta,
        inspection=inspection(0.9),
    )
    return FinishedPart(record, frame)


def test_a_rejected_part_is_written_with_its_picture(tmp_path: Path) -> None:
    with RecordWriter(tmp_path, clock=StepClock()) as writer:
        sink = RecordsSink(writer, ImagePolicy())
        sink.add_recipe("recipe-1", THRESHOLDS, document="")
        sink.write([rejected(sink.first_part_id)])
        assert (sink.images_kept, sink.next_part_id) == (1, sink.first_part_id + 1)
    with RecordReader(tmp_path) as reader:
        part = reader.part(sink.first_part_id)
        assert part is not None
        assert (reader.picture(part) == 50).all()


def test_what_was_lost_with_the_picture_folder_is_reported(tmp_path: Path) -> None:
    reported: list[tuple[str, str]] = []
    with RecordWriter(tmp_path, clock=StepClock()) as writer:
        sink = RecordsSink(writer, ImagePolicy(), on_fault=lambda *fault: reported.append(fault))
        sink.add_recipe("recipe-1", THRESHOLDS, document="")
        sink.write([rejected(sink.first_part_id)])
        shutil.rmtree(tmp_path / "images")
        with pytest.raises(DataDisplaced):
            sink.write([])
        sink.write([])
        sink.write([])
    assert reported == [("images_missing", "1 found when the records were reopened")]


def test_the_audit_trail_is_looked_after_once_the_records_are_in_their_place(
    tmp_path: Path,
) -> None:
    reported: list[tuple[str, str]] = []
    answers = ["", "it was deleted; its entries are back"]
    with RecordWriter(tmp_path / "data", clock=StepClock()) as writer:
        sink = RecordsSink(
            writer,
            ImagePolicy(),
            on_fault=lambda *fault: reported.append(fault),
            look_after_audit=lambda: answers.pop(0),
        )
        sink.write([])
        (tmp_path / "data").rename(tmp_path / "moved")
        with pytest.raises(DataDisplaced):
            sink.write([])
        assert len(answers) == 1
        sink.write([])
    assert reported == [(FaultName.AUDIT_TRAIL_DISPLACED, "it was deleted; its entries are back")]


def test_a_picture_that_cannot_be_written_is_a_named_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[tuple[str, str]] = []
    with RecordWriter(tmp_path, clock=StepClock()) as writer:
        sink = RecordsSink(writer, ImagePolicy(), on_fault=lambda *fault: reported.append(fault))
        sink.add_recipe("recipe-1", THRESHOLDS, document="")
        write = writer.write

        def refuse_pictures(*args: object) -> Acknowledgement:
            return replace(write(*args), image_faults=("no such folder",))  # type: ignore[arg-type]

        monkeypatch.setattr(writer, "write", refuse_pictures)
        sink.write([rejected(sink.first_part_id)])
    assert reported == [(FaultName.PICTURES_NOT_WRITTEN, "no such folder")]
