"""JSON that somebody else wrote: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes | bytearray) -> Any:
    """The value that the text stands for.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deep, or with a number that is too long or
            not finite; half a sentence says which.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(word: str) -> float:
    number = float(word)
    if number - number != 0.0:  # infinite, or not a number
        raise ValueError(f"{word[:20]} is not a finite number")
    return number
