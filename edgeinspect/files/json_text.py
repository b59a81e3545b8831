"""JSON in and out: one kind of error for what others wrote, null for what JSON cannot hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def parse_json(text: str | bytes | bytearray) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is not JSON or not UTF-8, is nested too deep, or has a number that is
            too long or not finite. The message completes a sentence about it.
    """
    try:
        return json.loads(text, parse_float=_number, parse_constant=_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def finite(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinities become null, tuples lists, keys text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _number(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word[:20]} is not a finite number")
    return number
