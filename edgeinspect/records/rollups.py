"""Counts and score histograms per hour and recipe of the parts whose rows were pruned.

A part is either a row of ``parts`` or counted here, never both and never neither, because one
transaction removes the row and counts it. A total is the sum of both, read in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

SCORE_BINS = 50
"""Bin ``b`` counts scores in [b, b + 1) / SCORE_BINS; the last one counts 1, too."""
NOT_FINITE = -1
"""The bin of scores that were not finite."""

_HOUR = "substr(recorded_wall, 1, 13)"
_CHOSEN = "part_id IN (SELECT value FROM json_each(:part_ids))"
_ADD_COUNTS = f"""
INSERT INTO rollup_counts (hour_wall, recipe_id, verdict, reason, gate_outcome, parts)
SELECT {_HOUR}, recipe_id, verdict, reason, gate_outcome, count(*)
FROM parts WHERE {_CHOSEN} GROUP BY 1, 2, 3, 4, 5
ON CONFLICT DO UPDATE SET parts = parts + excluded.parts
"""  # noqa: S608 (constants)
_ADD_SCORES = f"""
INSERT INTO rollup_scores (hour_wall, recipe_id, class_index, bin, parts)
SELECT {_HOUR}, recipe_id, score.key,
    CASE WHEN score.value IS NULL THEN {NOT_FINITE}
    ELSE max(0, min({SCORE_BINS - 1}, CAST(score.value * {SCORE_BINS} AS INTEGER))) END,
    count(*)
FROM parts, json_each(CASE WHEN json_valid(scores) THEN scores ELSE '[]' END) AS score
WHERE {_CHOSEN} GROUP BY 1, 2, 3, 4
ON CONFLICT DO UPDATE SET parts = parts + excluded.parts
"""  # noqa: S608 (constants)


def roll_up(connection: sqlite3.Connection, part_ids: Sequence[int]) -> None:
    """Count these parts and delete their rows in the caller's transaction."""
    values = {"part_ids": json.dumps(list(part_ids))}
    connection.execute(_ADD_COUNTS, values)
    connection.execute(_ADD_SCORES, values)
    connection.execute(f"DELETE FROM parts WHERE {_CHOSEN}", values)  # noqa: S608 (a constant)
