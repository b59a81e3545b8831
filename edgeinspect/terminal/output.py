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
    """Add the option ``--json``, passed to the command as ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object as the last line."
    )(function)


def examples(*commands: str) -> str:
    """Make a help epilog of commands, each shown on a line as it is typed."""
    lines = [line.strip() for command in commands for line in command.strip().splitlines()]
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Mapping[str, object]) -> None:
    """Print a JSON object on one line and flush; NaN and infinities become null."""
    sys.stdout.write(json_line(value))
    sys.stdout.flush()


def print_result(fields: Mapping[str, object], *renderables: RenderableType, as_json: bool) -> None:
    """Print a command's result: one JSON object, or lines and tables for people."""
    if as_json:
        print_json(fields)
        return
    for renderable in renderables:
        print_text(renderable)


def json_line(value: Mapping[str, object]) -> str:
    """Return the line that ``print_json`` prints."""
    return json.dumps(finite(value), ensure_ascii=False) + "\n"


def console(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is: no markup, emoji or highlighted numbers."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


@contextlib.contextmanager
def progress(
    words: str, total: int, *, quiet: bool = False, on: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr if that is a terminal.

    Args:
        words: what is being done.
        total: how many steps there are.
        quiet: show nothing.
        on: the console that also prints other lines during this time.

    Yields:
        A function to call with the number of steps done.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    shown = on if on is not None else console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not shown.is_terminal
    with Progress(*columns, console=shown, transient=True, disable=hidden) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_text(*renderables: RenderableType) -> None:
    """Print text or tables for people."""
    console().print(*renderables)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
) -> RenderableType:
    """Make a table; the columns named in ``right`` are aligned to the right."""
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
