"""What a person needs to correct a file: the place of a problem, the value, the expectation.

The expectation is made from the model's JSON schema. Pydantic's own messages name only the bound
that was broken and not the whole range, expect nothing of a missing key, and come once for each
form that a value may have.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

KeyPath: TypeAlias = tuple[str | int, ...]
_Schema: TypeAlias = Mapping[str, Any]


class Found(str):
    """Words used when there is no value to quote, e.g. ``missing``."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the words without quotes."""
        return str(self)


MISSING = Found("missing")


class Rule(ValueError):
    """Raised in a model's validator when a rule between keys is broken."""

    def __init__(self, *key_path: str | int, value: object, expected: str) -> None:
        """Name what to correct.

        Args:
            key_path: the key to correct, relative to the model that raises.
            value: its value, which may be the default.
            expected: completes "expected ..." in the error for the person who wrote the file.
        """
        super().__init__(f"{dotted(key_path)}: expected {expected}")
        self.key_path = key_path
        self.value = value
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file."""

    key_path: KeyPath
    line: int | None
    value: object
    expected: str
    unknown_key: bool


def dotted(key_path: Sequence[str | int]) -> str:
    """Write a key path as text: ``("lines", "trigger", 0)`` as ``lines.trigger[0]``."""
    text = ""
    for part in key_path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def problems_of(
    error: ValidationError,
    data: object,
    line_of: Callable[[KeyPath], int | None],
    model_type: type[BaseModel],
) -> list[Problem]:
    """List every problem once, unknown keys first: a misspelt key also counts as a missing one."""
    schema = _json_schema(model_type)
    found: dict[KeyPath, Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _problem(dict(detail), data, line_of, schema)
        found.setdefault(problem.key_path, problem)
    # pydantic also calls a list too short if its only item is wrong: the item is enough
    explained = {path[:length] for path in found for length in range(len(path))}
    problems = [problem for path, problem in found.items() if path not in explained]
    return sorted(problems, key=lambda p: (not p.unknown_key, p.line or 0))


@functools.cache
def _json_schema(model_type: type[BaseModel]) -> _Schema:
    return model_type.model_json_schema()


def _problem(
    detail: dict[str, Any],
    data: object,
    line_of: Callable[[KeyPath], int | None],
    schema: _Schema,
) -> Problem:
    kind = detail["type"]
    key_path, value = _locate(detail["loc"], data, missing=kind == "missing")
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Rule):
        key_path, value, expected = (*key_path, *cause.key_path), cause.value, cause.expected
    elif isinstance(cause, ValueError):
        expected = str(cause)
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        # the key that chooses the form of a section is missing or wrong
        key = detail["ctx"]["discriminator"].strip("'")
        key_path, value = _locate((*key_path, key), data, missing=kind.endswith("not_found"))
        expected = describe_schema(_schema_at(schema, key_path, data), schema)
    elif kind == "extra_forbidden":
        expected = _known_keys(str(key_path[-1]), _schema_at(schema, key_path[:-1], data))
    else:
        expected = describe_schema(_schema_at(schema, key_path, data), schema) or detail["msg"]
    return Problem(key_path, line_of(key_path), value, expected, kind == "extra_forbidden")


def _locate(loc: Sequence[str | int], data: object, *, missing: bool) -> tuple[KeyPath, object]:
    """Return the part of pydantic's location that is in the file: it also names union branches."""
    path: list[str | int] = []
    for part in loc:
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]  # type: ignore[index]
            path.append(part)
    if missing:
        return (*path, loc[-1]), MISSING
    return tuple(path), data


def _branches(schema: _Schema, root: _Schema, value: object = None) -> list[_Schema]:
    """Follow references and list the branches of unions.

    If the value chooses its branch by a discriminator, only that branch is listed.
    """
    if "$ref" in schema:
        return _branches(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    choice = schema.get("discriminator")
    if choice and isinstance(value, Mapping):
        chosen = choice["mapping"].get(str(value.get(choice["propertyName"])))
        if chosen is not None:
            return _branches({"$ref": chosen}, root)
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if options is None:
        return [schema]
    return [branch for option in options for branch in _branches(option, root, value)]


def _schema_at(root: _Schema, key_path: KeyPath, data: object) -> _Schema:
    here: list[_Schema] = _branches(root, root)
    for part in key_path:
        data = _step(data, part)
        deeper = [_child(schema, part) for schema in here]
        here = [b for child in deeper if child is not None for b in _branches(child, root, data)]
    return {"anyOf": here} if here else {}


def _step(data: object, part: str | int) -> object:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _child(schema: _Schema, part: str | int) -> _Schema | None:
    if isinstance(part, int):
        prefix = schema.get("prefixItems", [])
        child = prefix[part] if part < len(prefix) else schema.get("items")
    else:
        child = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return child if isinstance(child, Mapping) else None


def _known_keys(wrong: str, schema: _Schema) -> str:
    known = [key for b in schema.get("anyOf", []) for key in b.get("properties", {})]
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    hint = f"a known key; did you mean {near[0]}? " if near else "a known key. "
    return f"{hint}Known keys: {', '.join(known)}"


def describe_schema(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Describe a schema in words, e.g. ``a whole number from 0 to 60000, or null``."""
    words: list[str] = []
    for branch in _branches(schema, root):
        word = _describe_one(branch)
        if word and word not in words:
            words.append(word)
    words.sort(key=lambda word: word == "null")
    return ", or ".join(words)


def _describe_one(schema: _Schema) -> str:
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(str(value) for value in schema['enum'])}"
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _describe_number("a whole number" if kind == "integer" else "a number", schema)
    if kind == "string":
        return _describe_text(schema)
    if kind == "object" and "properties" in schema:
        return f"a mapping with the keys {', '.join(schema['properties'])}"
    items = _count(schema, "minItems", "maxItems", "items")
    others = {"array": f"a list{items}", "object": "a mapping", "boolean": "true or false"}
    return others.get(str(kind), str(kind or ""))


def _describe_number(noun: str, schema: _Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if low is not None and low == high:
        return f"the number {low}"
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    bounds = [
        f"{word} {bound}"
        for word, bound in (
            ("of at least", low),
            ("above", above),
            ("of at most", high),
            ("below", below),
        )
        if bound is not None
    ]
    return f"{noun} {' and '.join(bounds)}" if bounds else noun


def _describe_text(schema: _Schema) -> str:
    if schema.get("format") == "date-time":
        return "a date and time with UTC offset, e.g. 2026-03-14T09:26:53Z"
    if "description" in schema:
        return str(schema["description"])
    if "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    return f"text{_count(schema, 'minLength', 'maxLength', 'characters')}"


def _count(schema: _Schema, low_key: str, high_key: str, noun: str) -> str:
    low, high = schema.get(low_key), schema.get(high_key)
    if low is not None and high is not None:
        return f" of {low} {noun}" if low == high else f" of {low} to {high} {noun}"
    if low is not None:
        return f" of at least {low} {noun}"
    return f" of at most {high} {noun}" if high is not None else ""
