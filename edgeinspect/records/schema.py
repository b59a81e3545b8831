"""The tables of the records database, and the migrations from version to version.

``PRAGMA user_version`` holds the version. docs/reference/records.md describes every column. Never
edit a released migration: add the next one. A station migrates when it starts, so no migration may
read or write the rows of ``parts``: there may be millions.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3

from edgeinspect.records.durable import immediate

APPLICATION_ID = 0x45494E53
"""``PRAGMA application_id`` of our databases: "EINS"."""

_VERSION_1 = """
CREATE TABLE part_id_reservation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    next_part_id INTEGER NOT NULL
) STRICT;
INSERT INTO part_id_reservation VALUES (1, 1);

CREATE TABLE starts (
    start_id INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL,
    started_wall TEXT NOT NULL,
    started_mono_ns INTEGER NOT NULL,
    clock_synchronized INTEGER NOT NULL,
    software_version TEXT NOT NULL,
    integrity TEXT NOT NULL,
    set_aside TEXT NOT NULL,
    uncovered_faults TEXT NOT NULL
) STRICT;

CREATE TABLE recipes (
    recipe_id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    classes TEXT NOT NULL DEFAULT '[]',
    document TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE parts (
    part_id INTEGER PRIMARY KEY,
    start_id INTEGER NOT NULL REFERENCES starts (start_id),
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    recorded_wall TEXT NOT NULL,
    clock_synchronized INTEGER NOT NULL,
    recorded_mono_ns INTEGER NOT NULL,
    trigger_mono_ns INTEGER NOT NULL,
    frame_mono_ns INTEGER,
    verdict_mono_ns INTEGER,
    deadline_mono_ns INTEGER,
    window_start_mono_ns INTEGER,
    window_end_mono_ns INTEGER,
    encoder_count INTEGER,
    verdict TEXT NOT NULL,
    defect_class TEXT NOT NULL,
    score REAL,
    doubt TEXT,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    gate_outcome TEXT NOT NULL,
    frame_sequence INTEGER,
    frame_exposure_mono_ns INTEGER,
    frame_arrived_mono_ns INTEGER,
    frame_exposure_us REAL,
    frame_gain REAL,
    frame_source TEXT,
    frame_view TEXT,
    scores TEXT,
    top_class TEXT,
    top_score REAL,
    order_statistics BLOB,
    worst_x_px INTEGER,
    worst_y_px INTEGER,
    worst_width_px INTEGER,
    worst_height_px INTEGER,
    quality_mean REAL,
    quality_clipped_low REAL,
    quality_clipped_high REAL,
    quality_focus REAL,
    preprocess_ns INTEGER,
    invoke_ns INTEGER,
    postprocess_ns INTEGER,
    quality_ns INTEGER
) STRICT;
CREATE INDEX parts_not_passed ON parts (verdict) WHERE verdict <> 'PASS';
CREATE INDEX parts_by_wall ON parts (recorded_wall);

CREATE TABLE images (
    part_id INTEGER PRIMARY KEY REFERENCES parts (part_id),
    path TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    kind TEXT NOT NULL,
    keep_rank INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('kept', 'evicting', 'missing'))
) STRICT;
CREATE INDEX images_to_evict ON images (keep_rank, part_id) WHERE state = 'kept';
"""

_VERSION_2 = """
ALTER TABLE part_id_reservation ADD COLUMN witness TEXT NOT NULL DEFAULT ''
"""

_VERSION_3 = """
ALTER TABLE parts ADD COLUMN frame_exposure_error_ns INTEGER
"""

_VERSION_4 = """
CREATE TABLE record_order (
    record_seq INTEGER PRIMARY KEY,
    part_id INTEGER NOT NULL
) STRICT;

CREATE TABLE rollup_counts (
    hour_wall TEXT NOT NULL,
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    gate_outcome TEXT NOT NULL,
    parts INTEGER NOT NULL,
    PRIMARY KEY (hour_wall, recipe_id, verdict, reason, gate_outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_scores (
    hour_wall TEXT NOT NULL,
    recipe_id INTEGER NOT NULL REFERENCES recipes (recipe_id),
    class_index INTEGER NOT NULL,
    bin INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    PRIMARY KEY (hour_wall, recipe_id, class_index, bin)
) STRICT, WITHOUT ROWID;

CREATE TABLE retention (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    unnumbered_to INTEGER NOT NULL,
    pruned_through INTEGER NOT NULL,
    latest_pruned_wall TEXT NOT NULL,
    parts_pruned INTEGER NOT NULL,
    pruned_unsent INTEGER NOT NULL,
    pruned_for_space INTEGER NOT NULL
) STRICT;
INSERT INTO retention SELECT 1, coalesce(max(part_id), 0), 0, '', 0, 0, 0 FROM parts;
"""

_VERSION_5 = """
ALTER TABLE parts ADD COLUMN frame_red_gain REAL;
ALTER TABLE parts ADD COLUMN frame_blue_gain REAL;
ALTER TABLE parts ADD COLUMN frame_white_balance_k REAL;
ALTER TABLE parts ADD COLUMN frame_lens_position REAL;
ALTER TABLE parts ADD COLUMN quality_others TEXT
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5)
"""``MIGRATIONS[v]`` takes a database from version v to v + 1."""

_OF_ONE_ROW = {"part_id_reservation", "retention"}

SCHEMA_VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of a database; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_damage(connection: sqlite3.Connection) -> str:
    """The first error in the schema of one of our databases, in a few words; "" if it is sound.

    Every table of this version must have its columns with their types, and there may be no unknown
    trigger. Additions of a newer version are left alone.
    """
    version = version_of(connection)
    found = _columns(connection)
    if version < 0:
        return f"its version is {version}"
    if version > SCHEMA_VERSION:
        return "" if found else "it has no tables"
    with contextlib.closing(_empty_database(version)) as reference:
        expected, known = _columns(reference), _triggers(reference)
    for table, columns in expected.items():
        if table not in found:
            return f"the table {table} is missing"
        if missing := columns.items() - found[table].items():
            return f"{table} has no column {min(missing)[0]} of the right type"
    if unknown := _triggers(connection) - known:
        return f"it has an unknown trigger {min(unknown)}"
    rows = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        for table in _OF_ONE_ROW & expected.keys()
    }
    wrong = [f"{table} has {count} rows" for table, count in rows.items() if count != 1]
    return min(wrong, default="")


def _columns(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """The type of each column of each table; reading them parses the whole schema."""
    rows = connection.execute(
        "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table'"
    )
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        columns.setdefault(table, {})[column] = kind
    return columns


def _triggers(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    return {str(name) for (name,) in rows}


def _empty_database(version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, to_version=version)
    return connection


def migrate(connection: sqlite3.Connection, *, to_version: int | None = None) -> None:
    """Migrate a database to ``SCHEMA_VERSION``, or another version, one transaction a step.

    The connection must be in autocommit mode. A crash leaves the version before or after a step,
    never a state in between.
    """
    last = SCHEMA_VERSION if to_version is None else to_version
    for version in range(version_of(connection), last):
        with immediate(connection):
            for statement in _statements(MIGRATIONS[version]):
                if new := _NEW_COLUMN.fullmatch(statement):
                    _add_column(connection, *new.groups())
                else:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")


_NEW_COLUMN = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+ \w+)")


def _add_column(connection: sqlite3.Connection, table: str, column: str) -> None:
    """Add a column that may be NULL without reading the rows.

    For ``ALTER TABLE ADD COLUMN`` on a STRICT table, newer SQLites check every row, which takes
    minutes for gigabytes. The rows need no change, so this edits the schema text, as SQLite
    documents for such changes ("ALTER TABLE", section 7).
    """
    (sql,) = connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone()
    columns, _, options = sql.rpartition(")")
    (cookie,) = connection.execute("PRAGMA schema_version").fetchone()
    connection.execute("PRAGMA writable_schema = ON")
    try:
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?",
            (f"{columns.rstrip()}, {column}){options}", table),
        )
        connection.execute(f"PRAGMA schema_version = {cookie + 1}")
    finally:
        connection.execute("PRAGMA writable_schema = RESET")


def _statements(script: str) -> list[str]:
    return [statement for part in script.split(";") if (statement := part.strip())]
