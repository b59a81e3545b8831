"""The recorded scores of very many parts as arrays, for replaying verdicts without pictures.

A million parts are read in seconds and take tens of megabytes. SQLite returns a page of parts as
one text for each column, and each distinct score text is parsed once: an int8 model has few.
Each page is a separate transaction, so that a running station can keep reusing its log.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import StorageFault
from edgeinspect.part import VerdictKind
from edgeinspect.records.reader import ALL_PARTS, PartFilter, RecordReader, where

VERDICTS = (
    VerdictKind.PASS,
    VerdictKind.REVIEW,
    VerdictKind.REJECT,
    VerdictKind.CANNOT_INSPECT,
)
"""A verdict's code is its index here."""
PASS, REVIEW, REJECT, CANNOT_INSPECT = range(4)

_PAGE_PARTS = 50_000
_LETTERS = {"S": PASS, "V": REVIEW, "J": REJECT}
"""The third letter of each verdict's name."""
_MAX_KNOWN_NUMBERS = 200_000
_HEADER_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreColumns:
    """The parts that were judged by their scores, by part id, and the number of other parts.

    Attributes:
        classes: names of the scores' columns.
        part_ids: int64, shape (parts,), strictly increasing.
        recipe_ids: int64, shape (parts,), as in the table ``recipes``.
        verdicts: uint8, shape (parts,): the recorded verdicts as codes of ``VERDICTS``.
        scores: float64, shape (parts, classes), exactly as they were judged; NaN where a number
            was not finite.
        order_statistics: float32, shape (parts, classes, ranks), if they were requested; NaN for
            parts without them.
        cannot_inspect: number of parts that could not be inspected, by doubt; no threshold
            changes them.
        other_classes: number of parts that were scored for other classes.
        rejects_by_class: number of recorded rejects by the class that decided.
    """

    classes: tuple[str, ...]
    part_ids: NDArray[np.int64] = field(repr=False)
    recipe_ids: NDArray[np.int64] = field(repr=False)
    verdicts: NDArray[np.uint8] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    order_statistics: NDArray[np.float32] | None = field(default=None, repr=False)
    cannot_inspect: Mapping[str, int] = field(default_factory=dict)
    other_classes: int = 0
    rejects_by_class: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.part_ids)

    @property
    def parts(self) -> int:
        """All parts of the selection."""
        return len(self) + sum(self.cannot_inspect.values()) + self.other_classes


def latest_classes(reader: RecordReader, wanted: PartFilter = ALL_PARTS) -> tuple[str, ...]:
    """The class names of the newest scored part of the selection; empty if there is none."""
    conditions, values = where(wanted)
    rows = reader.query(
        f"SELECT recipes.classes {_tables(conditions, recipes=True)} WHERE {conditions}"
        " AND scores IS NOT NULL ORDER BY part_id DESC LIMIT 1",
        values,
    )
    return tuple(json.loads(rows[0][0])) if rows else ()


def newest_scored_recipe(reader: RecordReader, wanted: PartFilter) -> int | None:
    """The ``recipe_id`` of the newest scored part of the selection. Raises StorageFault."""
    conditions, values = where(wanted)
    rows = reader.query(
        f"SELECT recipe_id {_tables(conditions)} WHERE {conditions} AND scores IS NOT NULL"
        " AND verdict <> 'CANNOT_INSPECT' ORDER BY parts.part_id DESC LIMIT 1",
        values,
    )
    return int(rows[0][0]) if rows else None


def doubt_counts(
    reader: RecordReader, wanted: PartFilter, *, recipe_ids: Collection[int] | None = None
) -> dict[str, int]:
    """The parts of the selection that could not be inspected, by doubt, the most frequent first.

    Args:
        reader: the records.
        wanted: the selection.
        recipe_ids: count only the parts of these recipes.

    Raises:
        StorageFault: the records cannot be read.
    """
    conditions, values = where(wanted)
    rows = reader.query(
        f"SELECT recipe_id, coalesce(doubt, reason), count(*) {_tables(conditions)}"
        f" WHERE {conditions} AND verdict <> 'PASS' AND verdict = 'CANNOT_INSPECT' GROUP BY 1, 2",
        values,
    )
    counts: Counter[str] = Counter()
    for recipe_id, doubt, parts in rows:
        if recipe_ids is None or recipe_id in recipe_ids:
            counts[doubt] += parts
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_scores(
    reader: RecordReader,
    wanted: PartFilter = ALL_PARTS,
    *,
    classes: Sequence[str] | None = None,
    with_order_statistics: bool = False,
) -> ScoreColumns:
    """Read the scores of the parts that match the filter.

    Args:
        reader: the records.
        wanted: the selection.
        classes: read the parts that were scored for exactly these classes, in any order; None takes
            the classes of the newest part.
        with_order_statistics: read the order statistics, too.

    Raises:
        StorageFault: the records cannot be read or a row is damaged.
    """
    chosen = latest_classes(reader, wanted) if classes is None else tuple(classes)
    orders = _column_orders(reader, chosen)
    conditions, values = where(wanted)
    judged = f"{conditions} AND verdict <> 'CANNOT_INSPECT' AND scores IS NOT NULL"
    tables = _tables(conditions)
    source = f"{tables} WHERE {judged}"
    rejects: Counter[str] = Counter()
    pages = [
        page
        for rows in _pages(reader, _page_query(source, orders), values)
        for page in _parsed_page(rows, orders, rejects)
    ]
    columns = _joined(pages, len(chosen))
    order = None
    if with_order_statistics:
        order = _order_statistics(reader, source, values, columns[0], orders=orders)
    doubts = doubt_counts(reader, wanted)
    (total,) = reader.query(f"SELECT count(*) {tables} WHERE {conditions}", values)[0]
    return ScoreColumns(
        classes=chosen,
        part_ids=columns[0],
        recipe_ids=columns[1],
        verdicts=columns[2],
        scores=columns[3],
        order_statistics=order,
        cannot_inspect=doubts,
        other_classes=total - sum(doubts.values()) - len(columns[0]),
        rejects_by_class={name: rejects[name] for name in chosen if rejects[name]},
    )


_Page = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8], NDArray[np.float64]]


class _Numbers(dict[str, float]):
    """The numbers of score texts; each text is parsed once."""

    def __missing__(self, text: str) -> float:
        if len(self) > _MAX_KNOWN_NUMBERS:
            self.clear()
        value = self[text] = math.nan if text == "null" else float(text)
        return value


_NUMBERS = _Numbers()


def _column_orders(reader: RecordReader, chosen: tuple[str, ...]) -> dict[int, list[int] | None]:
    """For each recipe, the columns of the chosen classes; None if it has other classes."""
    orders: dict[int, list[int] | None] = {}
    for row in reader.query("SELECT recipe_id, classes FROM recipes", {}):
        own = json.loads(row["classes"])
        same = bool(chosen) and sorted(own) == sorted(chosen)
        orders[row["recipe_id"]] = [own.index(name) for name in chosen] if same else None
    return orders


def _tables(conditions: str, *, recipes: bool = False) -> str:
    """Only the tables that the conditions use, because each join costs time on a million rows."""
    tables = "FROM parts"
    if recipes or "recipes." in conditions:
        tables += " JOIN recipes USING (recipe_id)"
    if "images." in conditions:
        tables += " LEFT JOIN images ON images.part_id = parts.part_id AND images.state = 'kept'"
    return tables


def _id_ranges(reader: RecordReader) -> list[tuple[int, int]]:
    """Ranges of ids that cover all parts; billions of ids may be missing between them."""
    ranges: list[tuple[int, int]] = []
    while True:
        after = ranges[-1][1] if ranges else -1
        rows = reader.query(
            "SELECT part_id FROM parts WHERE part_id > :after ORDER BY part_id LIMIT 1",
            {"after": after},
        )
        if not rows:
            return ranges
        ranges.append((rows[0][0], rows[0][0] + _PAGE_PARTS - 1))


def _pages(
    reader: RecordReader, sql: str, values: dict[str, object]
) -> Iterator[list[sqlite3.Row]]:
    """The rows of each range of ids; the next range is read while the last one is processed."""
    ranges = _id_ranges(reader)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as ahead:

        def read(bounds: tuple[int, int]) -> Future[list[sqlite3.Row]]:
            return ahead.submit(reader.query, sql, {**values, "lo": bounds[0], "hi": bounds[1]})

        following = [read(bounds) for bounds in ranges[:1]]
        for bounds in [*ranges[1:], None]:
            if following:
                rows = following.pop().result()
                if bounds is not None:
                    following.append(read(bounds))
                yield rows


def _page_query(source: str, orders: Mapping[int, list[int] | None]) -> str:
    """A query for one row with all parts of a range, or one row a recipe if classes differ."""
    own = {tuple(order) if order is not None else None for order in orders.values()}
    grouped = " GROUP BY recipe_id" if len(own) > 1 else ""
    return (
        "SELECT max(recipe_id), group_concat(part_id), group_concat(recipe_id),"  # noqa: S608
        " group_concat(substr(verdict, 3, 1), ''), group_concat(scores),"
        " group_concat(CASE verdict WHEN 'REJECT' THEN defect_class END, char(31))"
        f" FROM (SELECT parts.part_id, recipe_id, verdict, scores, defect_class {source}"
        f" AND parts.part_id BETWEEN :lo AND :hi){grouped}"
    )


def _parsed_page(
    rows: list[sqlite3.Row], orders: Mapping[int, list[int] | None], rejects: Counter[str]
) -> Iterator[_Page]:
    """Parse the parts of a range and count the classes of their recorded rejects."""
    for recipe_id, ids, recipes, letters, texts, names in rows:
        order = orders.get(recipe_id) if recipe_id is not None else None
        if ids is not None and order is not None:
            rejects.update((names or "").split("\x1f"))
            yield _parsed(ids, recipes, letters, texts, order=order)


def _parsed(ids: str, recipes: str, letters: str, texts: str, *, order: list[int]) -> _Page:
    part_ids = np.array(ids.split(","), np.int64)
    try:
        numbers = texts.replace("[", "").replace("]", "").split(",")
        scores = np.fromiter(map(_NUMBERS.__getitem__, numbers), np.float64, len(numbers))
        scores = scores.reshape(len(part_ids), len(order))
        verdicts = np.fromiter(map(_LETTERS.__getitem__, letters), np.uint8, len(part_ids))
    except (ValueError, KeyError) as error:
        raise StorageFault(
            f"The scores of a part between {part_ids.min()} and {part_ids.max()} are damaged.",
            next_action="Copy the data directory, then leave these parts out with --from and --to.",
        ) from error
    if order != sorted(order):
        scores = scores[:, order]
    return part_ids, np.array(recipes.split(","), np.int64), verdicts, scores


def _joined(pages: list[_Page], classes: int) -> _Page:
    if not pages:
        empty = np.empty(0, np.int64)
        return empty, empty, np.empty(0, np.uint8), np.empty((0, classes))
    part_ids = np.concatenate([page[0] for page in pages])
    recipe_ids = np.concatenate([page[1] for page in pages])
    verdicts = np.concatenate([page[2] for page in pages])
    scores = np.concatenate([page[3] for page in pages])
    if (np.diff(part_ids) > 0).all():
        return part_ids, recipe_ids, verdicts, scores
    by_id = np.argsort(part_ids)
    return part_ids[by_id], recipe_ids[by_id], verdicts[by_id], scores[by_id]


def _order_statistics(
    reader: RecordReader,
    source: str,
    values: dict[str, object],
    part_ids: NDArray[np.int64],
    *,
    orders: Mapping[int, list[int] | None],
) -> NDArray[np.float32]:
    """Order statistics of these parts, in their order; float32, (parts, classes, ranks)."""
    known = {recipe_id: order for recipe_id, order in orders.items() if order is not None}
    classes = max(map(len, known.values()), default=0)
    made = np.full((len(part_ids), classes, 0), np.nan, np.float32)
    kinds = reader.query(
        f"SELECT DISTINCT recipe_id, length(order_statistics) {source}"
        " AND length(order_statistics) > 4",
        values,
    )
    for recipe_id, size in kinds:
        ranks, rest = divmod(size - _HEADER_BYTES, 4 * classes or 1)
        if recipe_id not in known or rest or made.shape[2] not in (0, ranks):
            continue  # of another score map, or damaged
        if not made.shape[2]:
            made = np.full((len(part_ids), classes, ranks), np.nan, np.float32)
        sql = (
            "SELECT group_concat(part_id), group_concat(hex(order_statistics), '')"  # noqa: S608
            f" FROM (SELECT parts.part_id, order_statistics {source}"
            " AND parts.part_id BETWEEN :lo AND :hi AND recipe_id = :recipe_id"
            " AND length(order_statistics) = :size)"
        )
        for ((ids, packed),) in _pages(
            reader, sql, {**values, "recipe_id": recipe_id, "size": size}
        ):
            if ids is None:
                continue
            places = np.searchsorted(part_ids, np.array(ids.split(","), np.int64))
            rows = np.frombuffer(bytes.fromhex(packed), np.uint8).reshape(len(places), size)
            block = np.ascontiguousarray(rows[:, _HEADER_BYTES:]).view("<f4")
            made[places] = block.reshape(-1, classes, ranks)[:, known[recipe_id]]
    return made
