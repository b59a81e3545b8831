"""``station.log`` on the FAT partition: how the import went, for a person with only a PC."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

import edgeinspect
from edgeinspect.errors import REPEAT, EdgeInspectError
from edgeinspect.files.atomic_file import open_regular, replace_file
from edgeinspect.setup.station_conf import CONF_FILE, LOG_FILE

_LONGEST_BYTES = 1 << 20

_WORDS = {
    "no station.conf": f"""NOT SET UP. {CONF_FILE} was not found on this partition.

What to do: copy {CONF_FILE}.example to {CONF_FILE}, edit it on a PC, put the card back and
switch the station on again. Until then nobody can log in and nothing is inspected.""",
    "imported": "SET UP. Everything was imported.",
    "imported, but": "SET UP. Some files were left out on purpose; see below.",
    "taken before": f"NOT IMPORTED AGAIN. The station's settings came from a newer {CONF_FILE}.",
    "partly imported": f"""PARTLY SET UP. {CONF_FILE} is good, so the station can be reached by
SSH, but its station file, recipe, bundle and keys were not imported. The old ones stay.""",
    "refused": f"NOTHING CHANGED. {CONF_FILE} is not good.",
}


def write_log(
    folder: Path,
    state: str,
    *,
    done: Sequence[str],
    left_out: Sequence[str],
    problems: Sequence[EdgeInspectError],
    now: datetime.datetime,
) -> None:
    """Write ``station.log`` unless it says the same already, to spare the card.

    Args:
        folder: the folder of station.conf.
        state: the key of what to say.
        done: sentences about what was imported.
        left_out: sentences about what was left out.
        problems: the errors that were found.
        now: UTC; a station has no battery clock, so it may be far off, and the log says so.
    """
    if left_out and state == "imported":
        state = "imported, but"
    body = _body(folder, state, done, left_out, problems)
    path = folder / LOG_FILE
    if _begins_of(path).decode(errors="replace").endswith(body):
        return
    head = (
        f"edgeinspect {edgeinspect.__version__}, "
        f"{now:%Y-%m-%d %H:%M} UTC by the station's own clock, which may be wrong.\r\n\r\n"
    )
    replace_file(path, (head + body).encode(), mode=None)


def _begins_of(path: Path) -> bytes:
    """What a log of ours can hold at most; b"" if there is none."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(_LONGEST_BYTES)
    except OSError:
        return b""


def _body(
    folder: Path,
    state: str,
    done: Sequence[str],
    left_out: Sequence[str],
    problems: Sequence[EdgeInspectError],
) -> str:
    lines = [_WORDS[state], ""]
    for number, problem in enumerate(problems, 1):
        lines.append(f"{number}. {_for_the_pc(problem.message, folder)}")
        if problem.next_action:
            lines.append(f"   {_for_the_pc(problem.next_action, folder)}")
    if problems:
        lines.append("")
    lines += [f"Taken: {sentence}" for sentence in done]
    lines += [f"Left out: {sentence}" for sentence in left_out]
    # line ends that every editor on every PC shows as such
    return "\r\n".join("\n".join(lines).splitlines()) + "\r\n"


def _for_the_pc(text: str, folder: Path) -> str:
    """Whoever reads it there knows the partition by another name, and has no command to run."""
    return text.replace(f"{folder}/", "").replace(REPEAT, "give it to the station again")
