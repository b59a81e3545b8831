"""Text in our CSV files is never a formula, and is read back as it was."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeinspect
import edgeinspect_tools
from edgeinspect.files.csv_cells import neutral, restored, write_table
from edgeinspect.labels.label_export import export_labels
from edgeinspect.labels.label_store import LabelKind, LabelStore
from edgeinspect.records.parts_export import COLUMNS, write_csv
from edgeinspect.study.study_file import plan_rows, read_rows, write_rows
from edgeinspect_tools.data.dataset_formats import read_source

FORMULAS = [
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\ttext",
    "\rtext",
    "\n=1",
    " =1",
    "\u00a0=1",
    "\ufeff=1",
    "\u200b \x00=1",
    "\uff1d1+1",
    "\uff0b1",
    " \uff0d1",
    "\uff20SUM(A1)",
    "\u22121",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str) -> None:
    assert neutral(text).startswith("'")
    assert restored(neutral(text)) == text


@pytest.mark.parametrize("text", ["a;=1", "a; =1", "a\t+1", "a\n@x", "late\r\n-1"])
def test_a_formula_behind_what_some_take_for_a_border_becomes_text(text: str) -> None:
    assert "'" in neutral(text)
    assert restored(neutral(text)) == text


@pytest.mark.parametrize("text", ["", "good", "it's", "'quoted'", "a=b", "x-1", "1;2", "a\nb", "5"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text == restored(text)


@given(st.text(alphabet="='+-@;\t\r\n ab\uff1d\ufeff0"))
def test_every_text_comes_back_and_none_begins_as_a_formula(text: str) -> None:
    cell = neutral(text)
    assert restored(cell) == text
    for piece in cell.replace("\r", ";").replace("\t", ";").replace("\n", ";").split(";"):
        assert piece.strip(" \ufeff")[:1] not in set("=+-@\uff1d")


def test_a_study_is_read_back_as_it_was(tmp_path: Path) -> None:
    rows = plan_rows([("=1+1", 0), (" -2", 1), ("'x", 1)], ["@SUM(A1)"], trials=1, seed=1)
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(write_rows(rows))
    found = [(row.part, row.appraiser) for row in read_rows(sheet, allow_open=True)]
    assert found == [(row.part, row.appraiser) for row in rows]
    with sheet.open(newline="") as stream:
        cells = [cell for line in csv.reader(stream) for cell in line]
    assert not [cell for cell in cells if cell.lstrip()[:1] in ("=", "@", "-")]


def test_labels_are_exported_as_text_and_read_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept.png").write_bytes(b"a picture")
    with LabelStore(data) as labels:
        labels.add(
            1,
            LabelKind.DEFECTIVE,
            author="=HYPERLINK(1)",
            defect_class="-dent",
            picture=data / "kept.png",
        )
    export_labels(data, tmp_path / "out")
    text = (tmp_path / "out" / "labels.csv").read_text()
    assert "1.png,'-dent,part 1,1,'=HYPERLINK(1)," in text
    (found,) = read_source(tmp_path / "out" / "labels.csv").pictures
    assert found.label == "-dent"


def test_parts_are_exported_as_text() -> None:
    stream = io.StringIO(newline="")
    row = dict.fromkeys(COLUMNS)
    write_csv([row | {"defect_class": "+pit", "frame_source": "\t=1", "score": -0.5}], stream)
    (cells,) = csv.DictReader(io.StringIO(stream.getvalue(), newline=""))
    assert (cells["defect_class"], cells["frame_source"], cells["score"]) == (
        "'+pit",
        "'\t'=1",
        "-0.5",
    )


def test_numbers_stay_numbers() -> None:
    stream = io.StringIO(newline="")
    write_table(stream, ("a", "b", "c", "d"), [(-1.5, -2, None, "-3")])
    assert stream.getvalue() == "a,b,c,d\r\n-1.5,-2,,'-3\r\n"
    assert list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1][3] == "'-3"


def test_nobody_writes_a_csv_file_in_another_way() -> None:
    for root in (Path(edgeinspect.__file__).parent, Path(edgeinspect_tools.__file__).parent):
        for path in root.rglob("*.py"):
            calls = {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "csv"
            }
            written = calls & {"writer", "DictWriter"}
            assert not written or path.name == "csv_cells.py", path
