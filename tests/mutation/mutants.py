"""Small changes to a module, one at a time: what a slip of the keyboard could make of it."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BOUNDARIES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "bisect_right": "bisect_left"}


Path_ = tuple[tuple[str, int | None], ...]
"""From the module down to a node: fields, and indices where a field is a list."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed module.

    Attributes:
        function: qualified name of the outermost function or class around the change; "" outside.
        in_body: the change is in a function's body, so it can be made to the living function.
        line: line of the change in the original.
        change: ``old -> new``, source text.
        number: of this change among equal ones in the function, from 1.
        original: the whole module, before the change.
        path, replacement: what takes which place in it.
    """

    file: Path
    function: str
    in_body: bool
    line: int
    change: str
    number: int
    original: ast.Module
    path: Path_
    replacement: ast.AST

    @property
    def name(self) -> str:
        """Stable while the function's text is: file, function, change, number."""
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.file.name}::{self.function or '<module>'} | {self.change}{again}"

    def changed(self) -> ast.Module:
        """The whole changed module."""
        tree = copy.deepcopy(self.original)
        _put(tree, self.path, self.replacement)
        return ast.fix_missing_locations(tree)


def mutants_of(file: Path) -> list[Mutant]:
    """Every mutant of one module, in the order of its text."""
    tree = ast.parse(file.read_text())
    found: list[Mutant] = []
    seen: Counter[tuple[str, str]] = Counter()
    for path, function, in_body in _places(tree, (), "", in_body=False):
        node = _at(tree, path)
        for replacement in _replacements(node):
            change = f"{_text(node)} -> {_text(replacement)}"
            seen[function, change] += 1
            number, line = seen[function, change], getattr(node, "lineno", 1)
            found.append(
                Mutant(file, function, in_body, line, change, number, tree, path, replacement)
            )
    return found


def _places(
    node: ast.AST, path: Path_, function: str, *, in_body: bool
) -> Iterator[tuple[Path_, str, bool]]:
    """Every node that is code and not annotation or docstring, and the function it is in.

    A function inside a function belongs to the outer one: it is a constant of its code. A default
    of an argument is outside of the body.
    """
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        inside = in_body or (field == "body" and _runs_when_called(node))
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or _is_docstring(child):
                continue
            here = (*path, (field, index if isinstance(value, list) else None))
            inner = function
            if isinstance(child, ast.ClassDef | ast.FunctionDef) and not inside:
                inner = f"{function}.{child.name}" if function else child.name
            yield here, inner if isinstance(child, ast.FunctionDef) else function, inside
            yield from _places(child, here, inner, in_body=inside)


def _runs_when_called(node: ast.AST) -> bool:
    """A function whose body each call runs; a cached one has run before the change is made."""
    return isinstance(node, ast.FunctionDef) and not any(
        "cache" in ast.unparse(decorator) for decorator in node.decorator_list
    )


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare) and len(node.ops) >= 1:
        yield from _compares(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield ast.BoolOp(other, node.values)
        for left_out in range(len(node.values)):
            kept = [value for i, value in enumerate(node.values) if i != left_out]
            yield kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Tuple | ast.List | ast.Set) and len(node.elts) > 1:
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            yield from _without_one(node)
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.stmt):
        yield from _statements(node)


def _compares(node: ast.Compare) -> Iterator[ast.AST]:
    for index, operator in enumerate(node.ops):
        for table in (BOUNDARIES, OPPOSITES):
            if type(operator) in table:
                ops: list[ast.cmpop] = list(node.ops)
                ops[index] = table[type(operator)]()
                yield ast.Compare(node.left, ops, node.comparators)


def _without_one(node: ast.Tuple | ast.List | ast.Set) -> Iterator[ast.AST]:
    for left_out in range(len(node.elts)):
        fewer = copy.deepcopy(node)
        del fewer.elts[left_out]
        yield fewer


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield ast.Call(ast.Name(CALLS[node.func.id], ast.Load()), node.args, node.keywords)
    for keyword in node.keywords:
        if keyword.arg == "key":
            rest = [other for other in node.keywords if other is not keyword]
            yield ast.Call(node.func, node.args, rest)


def _statements(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Compare | ast.BoolOp):
        changed = copy.deepcopy(node)
        changed.test = ast.UnaryOp(ast.Not(), changed.test)
        yield changed
    elif isinstance(node, ast.Return) and node.value is not None:
        # None is as false as False, which becomes True in another mutant
        if not (isinstance(node.value, ast.Constant) and node.value.value in (None, False)):
            yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr | ast.Raise) or _deletes_more_than_names(node):
        yield ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass()
        if type(node.op) in OPERATORS:
            yield ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
    elif isinstance(node, ast.Assign):
        if not isinstance(node.targets[0], ast.Name):
            yield ast.Pass()
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    elif isinstance(node, ast.Break):
        yield ast.Continue()


def _deletes_more_than_names(node: ast.stmt) -> bool:
    """``del event`` says that an argument is not used; without it nothing changes."""
    return isinstance(node, ast.Delete) and not all(isinstance(t, ast.Name) for t in node.targets)


def _text(node: ast.AST) -> str:
    """The node's source on one line; of a block, its head."""
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    head = text.split("\n")[0] if isinstance(node, ast.stmt) else " ".join(text.split())
    return head if len(head) <= 160 else head[:157] + "..."


def _at(tree: ast.AST, path: Path_) -> ast.AST:
    node: object = tree
    for field, index in path:
        value = getattr(node, field)
        node = value if index is None else value[index]
    assert isinstance(node, ast.AST)
    return node


def _put(tree: ast.AST, path: Path_, replacement: ast.AST) -> None:
    parent = _at(tree, path[:-1])
    field, index = path[-1]
    new = copy.deepcopy(replacement)
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
