"""How far back the records go, and the rollups that count the parts before.

A part is either a row or counted in a rollup. To add the two, read both in one
``RecordReader.snapshot``.
"""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import dataclass
from typing import Any

from edgeinspect.records.reader import PartFilter, RecordReader, where

_HOUR = datetime.timedelta(hours=1)
_AFTER_PRUNED = (
    "SELECT recorded_wall FROM parts WHERE part_id > :pruned AND part_id <= :unnumbered_to"
    " ORDER BY part_id LIMIT 1",
    "SELECT recorded_wall FROM record_order JOIN parts USING (part_id)"
    " WHERE record_seq > :pruned ORDER BY record_seq LIMIT 1",
)

_FILE_BYTES = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"

Kind = tuple[str, str, str]
"""Verdict, reason and gate outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsKept:
    """Which records exist, and which were pruned.

    Attributes:
        complete_since: every part recorded since then is a row; None without rows. UTC, by the
            station's wall clock.
        pruned_through: the highest ``record_seq`` that was removed; 0 if none was.
        latest_pruned: when the latest of the removed rows was recorded; None if none was.
        parts_pruned: number of removed rows; the rollups count them.
        pruned_unsent: how many of them a link had not sent.
        pruned_for_space: how many of them were removed early because the disk was short.
        file_bytes: size of the database file, without its log.
    """

    complete_since: datetime.datetime | None
    pruned_through: int
    latest_pruned: datetime.datetime | None
    parts_pruned: int
    pruned_unsent: int
    pruned_for_space: int
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCounts:
    """The parts of one hour, from rows and rollups.

    Attributes:
        hour: when the hour begins, UTC by the station's wall clock.
        by_verdict: number of parts by verdict.
        passed: number of parts that passed the gate.
    """

    hour: datetime.datetime
    by_verdict: dict[str, int]
    passed: int

    @property
    def parts(self) -> int:
        """All parts of the hour."""
        return sum(self.by_verdict.values())


def records_kept(reader: RecordReader) -> RecordsKept:
    """Read which records exist and which were pruned. Raises StorageFault."""
    with reader.snapshot():
        (state,) = reader.query("SELECT * FROM retention", {})
        places = {"pruned": state["pruned_through"], "unnumbered_to": state["unnumbered_to"]}
        since = [row[0] for sql in _AFTER_PRUNED for row in reader.query(sql, places)]
        size = reader.query(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", {}
        )
    return RecordsKept(
        complete_since=_time(since[0]) if since else None,
        pruned_through=state["pruned_through"],
        latest_pruned=_time(state["latest_pruned_wall"]),
        parts_pruned=state["parts_pruned"],
        pruned_unsent=state["pruned_unsent"],
        pruned_for_space=state["pruned_for_space"],
        file_bytes=size[0][0],
    )


def pruned_counts(reader: RecordReader, wanted: PartFilter) -> tuple[Counter[Kind], str]:
    """Count the pruned parts that match the filter; add a sentence on those left out.

    The rollups count whole hours, so a filter time within an hour leaves that hour out. They know
    neither part ids nor pictures. Raises StorageFault.
    """
    found: Counter[Kind] = Counter()
    kept = records_kept(reader)
    if not kept.parts_pruned or wanted.with_image is True or _is_after(wanted, kept):
        return found, ""
    if wanted.from_part_id is not None or wanted.to_part_id is not None:
        return found, missing_sentence(kept)
    conditions, values, cut = _conditions(wanted)
    rows = reader.query(
        "SELECT verdict, reason, gate_outcome, sum(parts) FROM rollup_counts"  # noqa: S608
        f" JOIN recipes USING (recipe_id) WHERE {conditions} GROUP BY 1, 2, 3",
        values,
    )
    for verdict, reason, outcome, parts in rows:
        found[verdict, reason, outcome] = parts
    return found, "Pruned parts are counted by whole hours only." if cut else ""


def missing(reader: RecordReader, wanted: PartFilter) -> str:
    """One sentence if parts that match the filter may have been pruned; otherwise empty."""
    kept = records_kept(reader)
    return "" if wanted.with_image is True or _is_after(wanted, kept) else missing_sentence(kept)


def missing_sentence(kept: RecordsKept) -> str:
    """One sentence on the pruned parts; empty if there are none."""
    if not kept.parts_pruned or kept.latest_pruned is None:
        return ""
    since = (
        "none are left"
        if kept.complete_since is None
        else f"{kept.complete_since:%Y-%m-%d %H:%M} UTC"
    )
    return (
        f"Records are complete since {since}; {kept.parts_pruned:,} older parts are kept as hourly "
        "counts only (edgeinspect parts stats --by hour)."
    )


def hourly(reader: RecordReader, wanted: PartFilter, *, digits: int = 13) -> list[HourCounts]:
    """Count parts by hour, or by day if ``digits`` is 10, oldest first.

    It filters by verdict, class, reason, gate outcome, recipe and time. Raises StorageFault.
    """
    by_time: dict[str, tuple[Counter[str], Counter[str]]] = {}
    rolled, values, _ = _conditions(wanted)
    rows, row_values = where(wanted)
    with reader.snapshot():
        found = reader.query(
            f"SELECT substr(hour_wall, 1, {digits}), verdict, gate_outcome, sum(parts)"  # noqa: S608
            f" FROM rollup_counts JOIN recipes USING (recipe_id) WHERE {rolled} GROUP BY 1, 2, 3",
            values,
        ) + reader.query(
            f"SELECT substr(recorded_wall, 1, {digits}), verdict, gate_outcome, count(*)"  # noqa: S608
            f" FROM parts JOIN recipes USING (recipe_id) WHERE {rows} GROUP BY 1, 2, 3",
            row_values,
        )
    for time, verdict, outcome, parts in found:
        verdicts, outcomes = by_time.setdefault(time, (Counter(), Counter()))
        verdicts[verdict] += parts
        outcomes[outcome] += parts
    return [
        HourCounts(
            hour=datetime.datetime.fromisoformat(time).replace(tzinfo=datetime.UTC),
            by_verdict=dict(verdicts),
            passed=outcomes["passed"],
        )
        for time, (verdicts, outcomes) in sorted(by_time.items())
    ]


def _is_after(wanted: PartFilter, kept: RecordsKept) -> bool:
    """Whether the filter matches only parts that are newer than every pruned one."""
    if wanted.from_part_id is not None and wanted.from_part_id > kept.pruned_through:
        return True  # a part's record_seq is never below its id
    since, latest = wanted.since_wall, kept.latest_pruned
    return latest is None or (since is not None and since > latest)


def _conditions(wanted: PartFilter) -> tuple[str, dict[str, Any], bool]:
    """The filter for ``rollup_counts`` and ``recipes``, and whether it splits an hour."""
    comparisons = {
        "verdict": "verdict = :verdict",
        "defect_class": "reason = :defect_class AND verdict IN ('REJECT', 'REVIEW')",
        "reason": "reason = :reason",
        "gate_outcome": "gate_outcome = :gate_outcome",
        "recipe_digest": "recipes.digest = :recipe_digest",
    }
    values = {name: getattr(wanted, name) for name in comparisons}
    values = {name: value for name, value in values.items() if value is not None}
    conditions = [comparisons[name] for name in values]
    cut = False
    for name, compare in (("since_wall", ">="), ("until_wall", "<")):
        time = getattr(wanted, name)
        if time is None:
            continue
        time = time.astimezone(datetime.UTC)
        hour = time.replace(minute=0, second=0, microsecond=0)
        cut = cut or hour != time
        if name == "since_wall" and hour != time:
            hour += _HOUR
        conditions.append(f"hour_wall {compare} :{name}")
        values[name] = hour.isoformat()[:13]
    return " AND ".join(conditions) or "1", values, cut


def _time(text: str) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
