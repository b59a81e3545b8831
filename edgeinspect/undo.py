"""Taking a step back when a later one fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def undo_on_error(step: Callable[..., object], *arguments: object) -> Iterator[None]:
    """Call ``step(*arguments)`` if the block ends with an exception of any kind."""
    with contextlib.ExitStack() as undoing:
        undoing.callback(step, *arguments)
        yield
        undoing.pop_all()
