"""A command line that loads commands only when they are used, and prints errors as sentences.

``edgeinspect`` and ``edgeinspect-tools`` share it. Every command ends with one of the exit codes
of ``edgeinspect.errors``. With ``--json``, the last line of stdout is one JSON object, even after
an error. Importing this module loads click and nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TextIO, cast

import click

from edgeinspect.errors import ConfigError, EdgeInspectError, StorageFault, UsageError
from edgeinspect.files.one_line import printable
from edgeinspect.terminal.output import print_json
from edgeinspect.terminal.signals import unwinding_on_signals
from edgeinspect.terminal.streams import open_closed_streams

INTERRUPTED = 130
PIPE_CLOSED = 141
UNEXPECTED = 1
DEBUG_VARIABLE = "EDGEINSPECT_DEBUG"
_LONGEST_SHOWN = 120
_WRONG_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOENT)


class LazyCommand(NamedTuple):
    """Where a command is, and its line in the overview.

    Attributes:
        place: ``package.module:attribute``; ``command`` if the attribute is left out.
        summary: the line in the overview.
    """

    place: str
    summary: str


_WHOLE_SENTENCE = 200
"""Characters; click cuts a command's first sentence short after fewer."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used.

    Commands that the group's own module defines are added as in any group of click's.
    """

    def __init__(
        self, *, commands: Mapping[str, LazyCommand] | None = None, **options: object
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._lazy = commands or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which they were given."""
        return [*self._lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return this command; None if there is none."""
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = entry.place.partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute or "command"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest a similar name if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _with_suggestion(error, args[0], self.list_commands(ctx)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview of the commands without importing them."""
        rows = [(name, entry.summary) for name, entry in self._lazy.items()]
        rows += [
            (name, command.get_short_help_str(_WHOLE_SENTENCE))
            for name, command in self.commands.items()
            if not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; carry an interrupt or a broken pipe past click."""
        # click would turn these two into its own exit codes.
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            raise _Ended(error) from error


class _Ended(Exception):
    """Carries an interrupt or a broken pipe past click, which would handle it itself."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


def run_command_line(
    command: click.Command, *, program: str, arguments: Sequence[str] | None = None
) -> int:
    """Run one command and return its exit code; never raises and never prints a traceback."""
    open_closed_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    report = _Report(program, as_json="--json" in given)
    try:
        with unwinding_on_signals():
            code = _run(command, program, given)
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  the last line of defence
        code = report.of(error)
    for stream in (sys.stdout, sys.stderr):
        _silence_if_broken(stream)
    return code


def _run(command: click.Command, program: str, arguments: list[str]) -> int:
    result = command.main(arguments, prog_name=program, standalone_mode=False)
    return result if isinstance(result, int) else 0


class _Report:
    """Reports how a command ended: one sentence on stderr, and JSON on stdout if requested."""

    def __init__(self, program: str, *, as_json: bool) -> None:
        self._program = program
        self._as_json = as_json

    def of(self, error: BaseException) -> int:
        """Report the error and return the exit code."""
        try:
            return self._of(error)
        except OSError:  # the reader has closed the pipe
            return PIPE_CLOSED

    def _of(self, error: BaseException) -> int:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exception(error)
        if isinstance(error, _Ended):
            error = error.error
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        if isinstance(error, SystemExit):
            return error.code if isinstance(error.code, int) else UNEXPECTED
        if isinstance(error, OSError) and error.filename is not None:
            error = _of_file(error)
        if isinstance(error, EdgeInspectError):
            return self._print(error_fields(error), error.exit_code)
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            return self._print(_fields("Interrupted", "Interrupted.", ""), INTERRUPTED)
        if isinstance(error, click.ClickException):
            return self._print(_usage_fields(error, self._program), error.exit_code)
        return self._print(_unexpected_fields(error), UNEXPECTED)

    def _print(self, fields: Mapping[str, object], exit_code: int) -> int:
        # One sentence on one line, whatever characters a file name or a value contains.
        sentence = f"{fields['message']} {fields['next_action']}".rstrip()
        shown = printable(sentence)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{self._program}: {shown}\n")
            sys.stderr.flush()
        if self._as_json:
            print_json({"error": fields, "exit_code": exit_code})
        return exit_code


def error_fields(error: EdgeInspectError) -> dict[str, object]:
    """Return the error as the fields of a JSON object."""
    fields = _fields(type(error).__name__, error.message, error.next_action)
    if isinstance(error, ConfigError):
        fields |= {"file": str(error.file), "line": error.line, "key": error.key}
        fields |= {"value": repr(error.value), "expected": error.expected}
    return fields


def _fields(kind: str, message: str, next_action: str) -> dict[str, object]:
    return {"type": kind, "message": message, "next_action": next_action}


def _usage_fields(error: click.ClickException, program: str) -> dict[str, object]:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else program
    return _fields("UsageError", error.format_message(), f"See: {command} --help")


def _of_file(error: OSError) -> EdgeInspectError:
    """Turn the system's error about a file into one of ours."""
    name = str(error.filename)
    if len(name) > _LONGEST_SHOWN:
        name = f"{name[:_LONGEST_SHOWN]}… ({len(name)} characters)"
    words = f"{name} cannot be used: {error.strerror or type(error).__name__}."
    if error.errno in _WRONG_NAMES:
        return UsageError(words, next_action="Give another file name.")
    return StorageFault(words, next_action="Check the file's permissions and the free space.")


def _unexpected_fields(error: BaseException) -> dict[str, object]:
    lines = str(error).strip().splitlines()
    first = lines[0].rstrip(".")[:200] if lines else "no message"
    message = f"Unexpected error: {type(error).__name__}: {first}."
    details = _keep_details("".join(traceback.format_exception(error)))
    return _fields(type(error).__name__, message, f"Please report it. {details}")


def _keep_details(details: str) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="edgeinspect-error-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(details)
    except OSError as error:
        return (
            f"The details could not be saved ({error.strerror}); to print them, set "
            f"{DEBUG_VARIABLE}=1 and run the command again."
        )
    return f"The details are in {file.name}."


def _silence_if_broken(stream: TextIO) -> None:
    """Keep the interpreter from complaining at exit about output that it could not write."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _with_suggestion(error: click.UsageError, given: str, known: list[str]) -> click.UsageError:
    import difflib

    near = difflib.get_close_matches(given, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Choose from: {', '.join(known)}."
    return click.UsageError(error.message + hint, error.ctx)
