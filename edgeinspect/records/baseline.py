"""The parts that drift is measured on: the first ones of a recipe, and the latest whole block.

Both are found by part id, without reading the parts in between, so the time does not grow with the
database.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.records.reader import RecordReader

BLOCK_IDS = 512
"""Part ids with the same ``part_id // BLOCK_IDS`` form a block."""
BASELINE_PARTS = 2048
_LEAST_PARTS = 128
"""A block with fewer inspected parts, for example around a restart, is skipped."""
_RECENT_ROWS = 4 * BLOCK_IDS
_COLUMNS = (
    "part_id, verdict = 'PASS' AS passed, score, quality_focus AS focus, quality_mean AS light,"
    " invoke_ns / 1e6 AS invoke_ms, (deadline_mono_ns - verdict_mono_ns) / 1e6 AS left_ms,"
    " (deadline_mono_ns - frame_mono_ns) / 1e6 AS allowed_ms"
)
_NUMBERS = ("passed", "score", "focus", "light", "invoke_ms", "left_ms", "allowed_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Measurements of consecutive inspected parts.

    Each array has shape (parts,) and holds NaN where a value is unknown.

    Attributes:
        passed: 1 for a part that passed, else 0.
        score: the deciding defect score, [0, 1].
        focus: variance of the Laplacian, grey levels squared.
        light: mean grey level, [0, 255].
        invoke_ms: time in the interpreter.
        left_ms: time from the verdict to its deadline.
        allowed_ms: time from the frame to that deadline.
    """

    first_part_id: int
    last_part_id: int
    passed: NDArray[np.float64]
    score: NDArray[np.float64]
    focus: NDArray[np.float64]
    light: NDArray[np.float64]
    invoke_ms: NDArray[np.float64]
    left_ms: NDArray[np.float64]
    allowed_ms: NDArray[np.float64]

    @property
    def parts(self) -> int:
        """How many parts were measured."""
        return int(self.passed.size)

    @property
    def good_scores(self) -> NDArray[np.float64]:
        """The scores of the parts that passed."""
        return np.asarray(self.score[(self.passed == 1) & np.isfinite(self.score)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """The two samples that health compares.

    Attributes:
        baseline: the first parts under the newest part's recipe; it may still be growing, see
            ``is_complete``.
        latest: the latest whole block after the baseline; None if there is none yet.
    """

    baseline: Sample | None
    latest: Sample | None

    @property
    def is_complete(self) -> bool:
        """Whether the baseline has all its parts."""
        return self.baseline is not None and self.baseline.parts >= BASELINE_PARTS


class Queryable(Protocol):
    """Runs queries: a ``RecordReader``, or the writer's own connection."""

    def query(self, sql: str, values: dict[str, Any], /) -> Sequence[Any]:
        """Return all rows of a statement."""


def baseline_range(reader: Queryable) -> tuple[int, int] | None:
    """The first and the last part id of the baseline; None without parts.

    A baseline that is still growing ends with the newest part.
    """
    newest = reader.query("SELECT part_id, recipe_id FROM parts ORDER BY part_id DESC LIMIT 1", {})
    if not newest:
        return None
    newest_id, recipe_id = newest[0]
    first_id = _recipe_began(reader, newest_id, recipe_id)
    rows = reader.query(
        "SELECT part_id FROM (SELECT part_id, scores FROM parts WHERE part_id >= :first"
        " AND recipe_id = :recipe ORDER BY part_id LIMIT :looked)"
        " WHERE scores IS NOT NULL LIMIT 1 OFFSET :before_last",
        {
            "first": first_id,
            "recipe": recipe_id,
            "looked": 4 * BASELINE_PARTS,
            "before_last": BASELINE_PARTS - 1,
        },
    )
    return first_id, rows[0][0] if rows else newest_id


def read_samples(reader: RecordReader) -> Samples:
    """Read the baseline and the latest block. Raises StorageFault."""
    newest = reader.query("SELECT part_id, recipe_id FROM parts ORDER BY part_id DESC LIMIT 1", {})
    if not newest:
        return Samples(baseline=None, latest=None)
    newest_id, recipe_id = newest[0]
    first_id = _recipe_began(reader, newest_id, recipe_id)
    baseline = _sample(
        reader, "part_id >= :first", "ASC", BASELINE_PARTS, first=first_id, recipe=recipe_id
    )
    latest = None
    if baseline is not None and baseline.parts >= BASELINE_PARTS:
        latest = _latest_block(reader, newest_id, recipe_id, after=baseline.last_part_id)
    return Samples(baseline=baseline, latest=latest)


def clock_jump_s(reader: RecordReader) -> float:
    """How far the wall clock jumped while the latest parts were recorded, in seconds.

    The wall clock is compared with CLOCK_MONOTONIC over the latest rows of the latest start. Raises
    StorageFault.
    """
    rows = reader.query(
        "SELECT start_id, recorded_wall, recorded_mono_ns FROM parts"
        " ORDER BY part_id DESC LIMIT :rows",
        {"rows": BLOCK_IDS},
    )
    offsets = [
        datetime.datetime.fromisoformat(row["recorded_wall"]).timestamp()
        - row["recorded_mono_ns"] / 1e9
        for row in rows
        if row["start_id"] == rows[0]["start_id"]
    ]
    return max(offsets) - min(offsets) if offsets else 0.0


def _recipe_began(reader: Queryable, newest_id: int, recipe_id: int) -> int:
    """The first of the consecutive parts that were inspected under the newest part's recipe.

    It searches back in doubling steps until it meets another recipe, then narrows down the change.
    The steps can miss a short run of another recipe; the baseline is then the older one.
    """

    def same_at(part_id: int) -> bool:
        rows = reader.query(
            "SELECT recipe_id FROM parts WHERE part_id >= :id ORDER BY part_id LIMIT 1",
            {"id": part_id},
        )
        return bool(rows) and rows[0][0] == recipe_id

    step = BLOCK_IDS
    inside = newest_id
    while inside > 0 and same_at(max(0, newest_id - step)):
        inside = max(0, newest_id - step)
        step *= 2
    outside = max(-1, newest_id - step)
    while inside - outside > 1:
        middle = (inside + outside) // 2
        if same_at(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _latest_block(
    reader: RecordReader, newest_id: int, recipe_id: int, *, after: int
) -> Sample | None:
    rows = reader.query(
        "SELECT part_id FROM parts WHERE part_id <= :newest AND part_id > :after"
        " AND recipe_id = :recipe ORDER BY part_id DESC LIMIT :rows",
        {"newest": newest_id, "after": after, "recipe": recipe_id, "rows": _RECENT_ROWS},
    )
    blocks = sorted({row[0] // BLOCK_IDS for row in rows}, reverse=True)
    for block in blocks[1:]:  # the newest may still be growing
        first = block * BLOCK_IDS
        if first <= after:
            break
        sample = _sample(
            reader,
            "part_id >= :first AND part_id < :end",
            "ASC",
            BLOCK_IDS,
            first=first,
            end=first + BLOCK_IDS,
            recipe=recipe_id,
        )
        if sample is not None and sample.parts >= _LEAST_PARTS:
            return sample
    return None


def _sample(
    reader: RecordReader, place: str, order: str, limit: int, **values: int
) -> Sample | None:
    """Inspected parts of one recipe, from at most four times as many rows."""
    rows = reader.query(
        f"SELECT * FROM (SELECT {_COLUMNS}, scores FROM parts WHERE {place}"  # noqa: S608 (constants)
        f" AND recipe_id = :recipe ORDER BY part_id {order} LIMIT :looked)"
        " WHERE scores IS NOT NULL LIMIT :wanted",
        {**values, "looked": 4 * limit, "wanted": limit},
    )
    if not rows:
        return None
    numbers = {name: np.array([row[name] for row in rows], np.float64) for name in _NUMBERS}
    return Sample(first_part_id=rows[0]["part_id"], last_part_id=rows[-1]["part_id"], **numbers)
