"""CSV files whose text a spreadsheet shows and does not run, and that we read back unchanged.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, also behind
spaces and as a full-width character. It may take a tab, a line break or a semicolon for the border
of a cell. An apostrophe in front makes such a cell text (OWASP, "CSV Injection"). All our CSV
files are written by ``write_table``; those that we read back go through ``restored``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

MARK = "'"
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212]"
"""With the full-width and small forms and the minus sign, which are read as the plain ones."""
_UNSEEN = (
    "['\\s\\x00-\\x1f\\x7f-\\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
)
"""Spaces, control characters and characters without a width, and marks that are there already."""
_AT_START = f"(?='*[\\t\\r\\n]|{_UNSEEN}{_SIGNS})"
_AT_BORDER = f"(?={_UNSEEN}{_SIGNS})"
_UNMARKED = re.compile(f"\\A{_AT_START}|(?<=[;\\t\\r\\n]){_AT_BORDER}")
_MARKED = re.compile(f"\\A'{_AT_START}|(?<=[;\\t\\r\\n])'{_AT_BORDER}")


def neutral(text: str) -> str:
    """The text with an apostrophe wherever a spreadsheet could see a formula begin."""
    return _UNMARKED.sub(MARK, text)


def restored(cell: str) -> str:
    """The text that ``neutral`` was given."""
    return _MARKED.sub("", cell)


def write_table(
    stream: TextIO,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    lineterminator: str = "\r\n",
) -> None:
    """Write a CSV table; text is made neutral, numbers stay numbers, None is an empty cell.

    Args:
        stream: opened with ``newline=""``.
    """
    writer = csv.writer(stream, lineterminator=lineterminator)
    writer.writerow(header)
    for row in rows:
        writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in row])
