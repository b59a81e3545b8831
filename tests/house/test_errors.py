"""Every error that a person can see is in the one tree of ``edgeinspect.errors``."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import edgeinspect
import edgeinspect_tools
from edgeinspect import errors
from edgeinspect.errors import EdgeInspectError

ROOTS = (Path(edgeinspect.__file__).parent, Path(edgeinspect_tools.__file__).parent)
OUTSIDE = {
    "Rule": "pydantic passes on only a ValueError; the file's reader makes it a ConfigError",
    "UnreadablePicture": "a few words without the file's name; whoever opened it names it",
    "ProtocolError": "the server answers the line with it",
    "NoRoom": "the server answers the connection with it",
    "Refused": "ends a script that runs in a converter's environment, where we are not installed",
    "_DamagedError": "the database's opener starts a new file then",
    "_Ended": "carries an interrupt past click",
}
TREE_LINE = re.compile(r"^ {4}([│ ├└─]*)(\w+)(?: +\((\w+)\))? +(?:exit code )?(\d)", re.MULTILINE)


def exception_classes() -> Iterator[tuple[str, str]]:
    """Name and file of every class that can be raised, found by the names of its bases."""
    known = {
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    } | set(tree_classes())
    classes = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)}, path.name)
        for root in ROOTS
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    grown = True
    while grown:
        found = {name for name, bases, _ in classes if bases & known}
        grown = not found <= known
        known |= found
    yield from ((name, file) for name, bases, file in classes if bases & known)


def tree_classes() -> dict[str, type[EdgeInspectError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EdgeInspectError)
    }


def test_no_error_is_defined_outside_the_tree_without_a_reason() -> None:
    outside = {name for name, file in exception_classes() if file != "errors.py"}
    assert outside == set(OUTSIDE)


def test_the_docstring_draws_the_tree() -> None:
    assert errors.__doc__
    drawn = TREE_LINE.findall(errors.__doc__)
    assert sorted(name for _, name, _, _ in drawn) == sorted(tree_classes())
    parents: list[str] = []
    for branch, name, builtin, code in drawn:
        depth = len(branch) // 4
        error = tree_classes()[name]
        assert error.exit_code == int(code), name
        if builtin:
            assert issubclass(error, getattr(builtins, builtin)), name
        if depth:
            assert error.__bases__[0].__name__ == parents[depth - 1], name
        parents[depth:] = [name]


def test_cleaning_up_needs_no_broad_except() -> None:
    """``undo_on_error``, or an ExitStack with ``pop_all``, says it once and in order."""
    for root in ROOTS:
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ExceptHandler) and node.name is None:
                    broad = isinstance(node.type, ast.Name) and node.type.id in (
                        "BaseException",
                        "Exception",
                    )
                    last = node.body[-1]
                    assert not (broad and isinstance(last, ast.Raise) and last.exc is None), (
                        f"{path}:{node.lineno}"
                    )
