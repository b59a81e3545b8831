"""CSV files whose text a spreadsheet shows but never runs, and that we read back unchanged.

A spreadsheet treats a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula, even after
spaces and as a full-width character. It may treat a tab, a line break or a semicolon as the border
of a cell. An apostrophe in front makes such a cell text (OWASP, "CSV Injection"). ``write_table``
writes all our CSV files; what we read back goes through ``restored``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

MARK = "'"
_SIGNS = "[=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212]"
"""Includes the full-width and small forms and the minus sign, which count as the plain ones."""
_UNSEEN = (
    "['\\s\\x00-\\x1f\\x7f-\\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
)
"""Spaces, control characters, characters without a width, and marks that are already there."""
_AT_START = f"(?='*[\\t\\r\\n]|{_UNSEEN}{_SIGNS})"
_AT_BORDER = f"(?={_UNSEEN}{_SIGNS})"
_UNMARKED = re.compile(f"\\A{_AT_START}|(?<=[;\\t\\r\\n]){_AT_BORDER}")
_MARKED = re.compile(f"\\A'{_AT_START}|(?<=[;\\t\\r\\n])'{_AT_BORDER}")


def neutral(text: str) -> str:
    """Put an apostrophe wherever a spreadsheet could take the text for a formula."""
    return _UNMARKED.sub(MARK, text)


def restored(cell: str) -> str:
    """Undo ``neutral``."""
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
        stream: a text file opened with ``newline=""``.
        header: names of the columns.
        rows: the cells of each row.
        lineterminator: the end of each line.
    """
    writer = csv.writer(stream, lineterminator=lineterminator)
    writer.writerow(header)
    for row in rows:
        writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in row])
