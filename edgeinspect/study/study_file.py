"""Decisions of an agreement study as CSV files: the plan, sheets to fill in, and reading them.

Each line is one decision: ``part,reference,appraiser,trial,decision``. Reference and decision are
good or bad, or one of ``WORDS``. A blind sheet has no reference; the list of parts has it. Reading
is strict: each part has one reference, and each appraiser decides on each part equally often. An
error names the file and line that break this.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.files.csv_cells import restored, write_table
from edgeinspect.files.one_line import is_one_line
from edgeinspect.files.yaml_expected import MISSING, Found
from edgeinspect.study.study import BAD, GOOD, Study

COLUMNS = ("part", "reference", "appraiser", "trial", "decision")
BLIND_COLUMNS = ("part", "appraiser", "trial", "decision")
WORDS = {
    **dict.fromkeys(("good", "pass", "passed", "ok", "accept", "accepted", "io", "1"), GOOD),
    **dict.fromkeys(("bad", "reject", "rejected", "defective", "nok", "ng", "fail"), BAD),
    **dict.fromkeys(("failed", "nio", "review", "cannot_inspect", "0"), BAD),
}
NAMES = {BAD: "bad", GOOD: "good"}
MAX_BYTES = 16 << 20
MAX_LINES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a study file.

    Attributes:
        file: the file that it is in, for errors.
        line: its number there.
        part: name of the part.
        reference: BAD or GOOD.
        appraiser: who decides.
        trial: which of the appraiser's passes over the parts, from 1.
        decision: BAD or GOOD; None if it is still open.
    """

    file: Path
    line: int
    part: str
    reference: int
    appraiser: str
    trial: int
    decision: int | None


def read_rows(
    path: Path, *, allow_open: bool = False, references: Mapping[str, int] | None = None
) -> list[Row]:
    """Read the lines of one file.

    Args:
        path: the CSV file.
        allow_open: accept lines without a decision.
        references: reference of each part, for blind sheets, which do not have that column.

    Raises:
        ConfigError: the file cannot be read, or a line is wrong; names file, line and column.
    """
    columns = COLUMNS if references is None else BLIND_COLUMNS
    rows = [
        _row(path, line, cells, allow_open, references) for line, cells in _lines(path, columns)
    ]
    if not rows:
        raise _wrong(
            path, None, "the file", Found("without decisions"), "one line for each decision"
        )
    return rows


def read_study(paths: Sequence[Path], *, references: Mapping[str, int] | None = None) -> Study:
    """Read a complete study from one or more files.

    Raises:
        ConfigError: a file cannot be read or is wrong, as ``read_rows`` says.
        UsageError: a decision is missing.
    """
    return study_of([row for path in paths for row in read_rows(path, references=references)])


def study_of(rows: Sequence[Row]) -> Study:
    """Make a study of these decisions.

    Raises:
        ConfigError: a decision is given twice, or a part has two references.
        UsageError: a decision is missing.
    """
    parts = _references(rows)
    appraisers = list(dict.fromkeys(row.appraiser for row in rows))
    seen: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        key = (row.appraiser, row.part, row.trial)
        if key in seen:
            first = seen[key]
            expected = f"each part once in a trial; it is also in {first.file.name}:{first.line}"
            raise _wrong(row.file, row.line, "the decision", Found("given twice"), expected)
        seen[key] = row
    trials = sorted({row.trial for row in rows})
    decisions = np.zeros((len(appraisers), len(parts), len(trials)), np.int8)
    for a, appraiser in enumerate(appraisers):
        for p, part in enumerate(parts):
            for t, trial in enumerate(trials):
                row_found = seen.get((appraiser, part, trial))
                if row_found is None or row_found.decision is None:
                    raise UsageError(
                        f"The study is not complete: {appraiser} has no decision for part {part} "
                        f"in trial {trial}.",
                        next_action="Every appraiser must decide on every part in every trial.",
                    )
                decisions[a, p, t] = row_found.decision
    return Study(
        parts=tuple(parts),
        appraisers=tuple(appraisers),
        reference=np.array(list(parts.values()), np.int8),
        decisions=decisions,
    )


def plan_rows(
    parts: Sequence[tuple[str, int]], appraisers: Sequence[str], *, trials: int, seed: int
) -> list[Row]:
    """List the decisions to make, in a new random order for each appraiser and trial.

    Args:
        parts: name and reference of each part.
        appraisers: names of those who decide.
        trials: how often each appraiser decides on each part.
        seed: the same seed gives the same order.

    Raises:
        UsageError: a part or an appraiser is named twice, or there are none.
    """
    for what, names in (("part", [name for name, _ in parts]), ("appraiser", list(appraisers))):
        if not names or len(set(names)) != len(names):
            raise UsageError(f"A study needs {what}s, and each name may occur only once.")
    rng = Random(seed)  # noqa: S311 - an order, not a secret
    rows = []
    for trial in range(1, trials + 1):
        for appraiser in appraisers:
            order = rng.sample(list(parts), len(parts))
            rows += [
                Row(
                    file=Path(),
                    line=0,
                    part=part,
                    reference=reference,
                    appraiser=appraiser,
                    trial=trial,
                    decision=None,
                )
                for part, reference in order
            ]
    return rows


def write_rows(rows: Sequence[Row], *, blind: bool = False) -> bytes:
    """Write the rows as one CSV file, ``blind`` without the references."""
    text = io.StringIO(newline="")
    cells = [
        (
            row.part,
            *(() if blind else (NAMES[row.reference],)),
            row.appraiser,
            row.trial,
            "" if row.decision is None else NAMES[row.decision],
        )
        for row in rows
    ]
    write_table(text, BLIND_COLUMNS if blind else COLUMNS, cells, lineterminator="\n")
    return text.getvalue().encode()


def read_parts(path: Path) -> list[tuple[str, int]]:
    """Read a list of parts with the columns ``part,reference``: name and reference of each."""
    return [
        (_name(path, line, "part", cells), _word(path, line, "reference", cells))
        for line, cells in _lines(path, COLUMNS[:2])
    ]


def _lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read every line that is not empty, as cells by column, separated by commas or semicolons."""
    text = _text(path)
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    header: list[str] = []
    try:
        for number, cells in enumerate(reader):
            if not header:
                header = [name.strip().lower() for name in cells]
                _check_header(path, header, columns)
            elif any(cell.strip() for cell in cells):
                if len(cells) != len(header):
                    found, expected = Found(f"of {len(cells)} cells"), f"{len(header)} cells"
                    raise _wrong(path, reader.line_num, "the line", found, expected)
                if number > MAX_LINES:
                    found = Found("too long")
                    raise _wrong(path, None, "the file", found, f"at most {MAX_LINES} lines")
                shown = (restored(cell.strip()) for cell in cells)
                yield reader.line_num, dict(zip(header, shown, strict=True))
    except csv.Error as error:
        found = Found(f"broken ({error})")
        raise _wrong(path, reader.line_num, "the line", found, "comma-separated cells") from error
    if not header:
        raise _wrong(path, None, "the file", Found("empty"), f"the columns {','.join(columns)}")


def _references(rows: Sequence[Row]) -> dict[str, int]:
    """The reference of each part, in the order of the parts' first lines."""
    first: dict[str, Row] = {}
    for row in rows:
        known = first.setdefault(row.part, row)
        if known.reference != row.reference:
            expected = f"{NAMES[known.reference]}, as in {known.file.name}:{known.line}"
            raise _wrong(
                row.file, row.line, f"reference of {row.part}", NAMES[row.reference], expected
            )
    return {part: row.reference for part, row in first.items()}


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    for column in columns:
        if header.count(column) != 1:
            found = MISSING if column not in header else Found("given twice")
            expected = f"a first line with the columns {','.join(columns)}"
            raise _wrong(path, 1, f"the column {column}", found, expected)


def _row(
    path: Path,
    line: int,
    cells: dict[str, str],
    allow_open: bool,
    references: Mapping[str, int] | None,
) -> Row:
    trial = cells["trial"]
    if not trial.isascii() or not trial.isdigit() or not 1 <= int(trial) <= 1000:
        raise _wrong(path, line, "trial", trial, "a whole number from 1 to 1000")
    is_open = allow_open and not cells["decision"]
    part = _name(path, line, "part", cells)
    reference = _reference(path, line, part, cells, references)
    return Row(
        file=path,
        line=line,
        part=part,
        reference=reference,
        appraiser=_name(path, line, "appraiser", cells),
        trial=int(trial),
        decision=None if is_open else _word(path, line, "decision", cells),
    )


def _reference(
    path: Path,
    line: int,
    part: str,
    cells: dict[str, str],
    references: Mapping[str, int] | None,
) -> int:
    if references is None:
        return _word(path, line, "reference", cells)
    if part not in references:
        raise _wrong(path, line, "part", part, "a part from the list of parts")
    known = references[part]
    if cells.get("reference") and _word(path, line, "reference", cells) != known:
        expected = f"{NAMES[known]}, as in the list of parts"
        raise _wrong(path, line, f"reference of {part}", cells["reference"], expected)
    return known


def _name(path: Path, line: int, column: str, cells: dict[str, str]) -> str:
    name = cells[column]
    if not is_one_line(name, longest=100):
        raise _wrong(path, line, column, name or MISSING, "a name of 1 to 100 characters")
    return name


def _word(path: Path, line: int, column: str, cells: dict[str, str]) -> int:
    known = WORDS.get(cells[column].lower())
    if known is None:
        expected = "good or bad (or 1 or 0, ok or nok, pass or reject)"
        raise _wrong(path, line, column, cells[column] or MISSING, expected)
    return known


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            found = Found("a folder" if path.is_dir() else "missing")
            raise _wrong(path, None, "the file", found, "a readable CSV file")
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        if isinstance(error, ConfigError):
            raise
        found = Found(f"unreadable ({error.strerror})")
        raise _wrong(path, None, "the file", found, "a readable CSV file") from error
    if content is None:
        raise _wrong(path, None, "the file", Found("too long"), f"at most {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong(path, line, "the encoding", Found("not UTF-8"), "UTF-8 text") from error


def _wrong(path: Path, line: int | None, key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(file=path, line=line, key=key, value=value, expected=expected)
