"""A progress bar on stderr, where a person watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeinspect.terminal.output import console


@contextmanager
def bar(title: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the number of steps done."""
    from rich.progress import MofNCompleteColumn, Progress

    err = console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=err,
        transient=True,
        disable=not shown or not err.is_terminal,
    ) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)
