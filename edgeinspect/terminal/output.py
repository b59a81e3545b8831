"""What commands write to stdout: JSON objects for programs, tables and sentences for people."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeinspect.files.json_text import finite

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_WIDTH_WITHOUT_TERMINAL = 120


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json``, passed to the command as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object as the last line."
    )(function)


def examples(text: str) -> str:
    """An epilog of examples, one command a line, kept as they are typed."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on one line, at once; NaN and infinities become null."""
    sys.stdout.write(json_line(value))
    sys.stdout.flush()


def json_line(value: Mapping[str, object]) -> str:
    """What ``print_json`` prints."""
    return json.dumps(finite(value), ensure_ascii=False) + "\n"


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is, without markup, emoji or highlighting."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


@contextlib.contextmanager
def progress(
    words: str, total: int, *, quiet: bool = False, on: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr in a terminal; call the yielded function with the number done.

    Args:
        on: the console that other lines are printed to meanwhile.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    shown = on if on is not None else console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not shown.is_terminal
    with Progress(*columns, console=shown, transient=True, disable=hidden) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)


def say(*renderables: RenderableType) -> None:
    """Print for people."""
    console().print(*renderables)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
) -> RenderableType:
    """A table; the columns named in ``right`` are aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(title) if title else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        show_header=any(columns),
    )
    for name in columns:
        made.add_column(Text(name), justify="right" if name in right else "left")
    for row in rows:
        made.add_row(*(value if isinstance(value, Text) else Text(str(value)) for value in row))
    return made
