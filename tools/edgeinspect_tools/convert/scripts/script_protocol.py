"""How the tool talks with a converter: one JSON request, one sentence on stderr if it refuses.

Runs inside the converter's environment: the standard library and numpy only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

REFUSED = 3
MARK = "refused: "


class Refused(Exception):
    """The source cannot be converted; the text is a sentence for a person."""


def serve(convert: Callable[[dict[str, Any]], None], run: Callable[[dict[str, Any]], None]) -> None:
    """Answer the request named on the command line, then end the process."""
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        request = json.load(file)
    try:
        {"convert": convert, "run": run}[request["do"]](request)
    except Refused as refused:
        sys.stderr.write(f"{MARK}{refused}\n")
        sys.exit(REFUSED)


def batch_of_one(
    shape: list[int | None] | tuple[int | None, ...], given: list[int] | None
) -> list[int]:
    """The fixed input shape: ``given``, or the model's own with its open batch set to 1."""
    own: list[Any] = [1, *shape[1:]]
    if given is not None:
        if len(given) != len(own) or any(o not in (None, g) for o, g in zip(own, given)):  # noqa: B905
            raise Refused(f"The model takes {list(shape)}, not {given}.")
        return given
    if any(extent is None for extent in own):
        raise Refused(f"The model takes {list(shape)}; give a fixed size with --input-shape.")
    return own
