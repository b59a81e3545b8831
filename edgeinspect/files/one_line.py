"""Text that a person gives and that is kept for good: an author, a reason, a note.

It has to fit on one line of a table, a log and a terminal, whatever characters it came with.
"""

from __future__ import annotations

LONGEST = 200
EXPECTED = f"1 to {LONGEST} characters on one line"
STORED = rf"[^\x00-\x1f\x7f]{{1,{LONGEST}}}"
"""What files may hold, a regular expression. New text has to meet ``is_one_line``, which is
stricter, but files that were written before must still be read."""


def is_one_line(text: str, *, longest: int = LONGEST) -> bool:
    """Whether the text is printable, not blank, and at most ``longest`` characters."""
    return 0 < len(text) <= longest and text.isprintable() and bool(text.strip())


def printable(text: str) -> str:
    """The text with a space in place of each character that a terminal could act on."""
    return "".join(character if character.isprintable() else " " for character in text)


def to_one_line(text: str) -> str:
    """What can be kept of any text, e.g. the message of a library's error; may be empty."""
    return printable(text)[:LONGEST].strip()
