"""YAML files that people write: read safely, validated strictly, every error with its line.

The reader knows the YAML 1.2 core types only: ``on``, ``no``, ``1:30`` and dates stay text.
Anchors, aliases and tags are refused, and so is a key that is given twice. A model is validated as
if the file were JSON in pydantic's strict mode: lists become tuples and text becomes enums or
paths, but ``"5"``, ``true`` and ``5.0`` are not the whole number 5.

Values are built from the parser's events here, not in a subclass of PyYAML's ``SafeLoader``: such a
subclass can only refuse anchors and count levels in PyYAML's own Python parser, which takes 10 ms
for a bundle's card where libyaml takes 0.4 ms, and 9 s for a file of 0.8 MB instead of 0.4 s.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edgeinspect.errors import REPEAT, ConfigError
from edgeinspect.files.atomic_file import open_regular
from edgeinspect.files.yaml_expected import Found, KeyPath, dotted, problems_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

ModelT = TypeVar("ModelT", bound=BaseModel)
Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | float | bool | None"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's content with the line of every key.

    Attributes:
        path: as given.
        content: the bytes that were read.
        data: plain values; every mapping key is text.
        lines: 1-based line of each mapping key and list item, by key path.
    """

    path: Path
    content: bytes = field(repr=False)
    data: Plain
    lines: Mapping[KeyPath, int] = field(repr=False)

    def line_of(self, key_path: KeyPath) -> int | None:
        """Return the line of a key or of the nearest key around it; None for the whole file."""
        for length in range(len(key_path), 0, -1):
            if (line := self.lines.get(key_path[:length])) is not None:
                return line
        return None


def load_model(
    path: str | os.PathLike[str], model_type: type[ModelT], *, max_bytes: int = MAX_BYTES
) -> ModelT:
    """Read and validate one file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or breaks a rule of the model. The
            error names the first problem; its next action lists the places of the others.
    """
    return validate(read_yaml(path, max_bytes=max_bytes), model_type)


def read_yaml(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> YamlFile:
    """Read one file without validating it.

    Raises:
        ConfigError: the file cannot be read or is not YAML.
    """
    file = Path(path)
    return parse_yaml(_read_bytes(file, max_bytes), path=file)


def parse_yaml(content: bytes, *, path: str | os.PathLike[str]) -> YamlFile:
    """Parse the content of a file; ``path`` is used in errors only.

    Raises:
        ConfigError: the content is not YAML.
    """
    file = Path(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            file=file,
            line=line,
            key="the encoding",
            value=Found(f"not UTF-8 at byte {error.start}"),
            expected="UTF-8 text",
        ) from error
    data, lines = _Composer(file, text).compose()
    return YamlFile(path=file, content=content, data=data, lines=lines)


def validate(yaml_file: YamlFile, model_type: type[ModelT]) -> ModelT:
    """Build the model from a parsed file.

    Raises:
        ConfigError: the file breaks a rule of the model, as ``load_model`` says.
    """
    if not isinstance(yaml_file.data, dict):
        raise ConfigError(
            file=yaml_file.path,
            key="the file",
            value=Found("empty") if yaml_file.data is None else yaml_file.data,
            expected="a mapping of keys to values",
        )
    try:
        return model_type.model_validate_json(json.dumps(yaml_file.data), strict=True)
    except ValidationError as error:
        first, *others = problems_of(error, yaml_file.data, yaml_file.line_of, model_type)
        raise ConfigError(
            file=yaml_file.path,
            line=first.line,
            key=dotted(first.key_path) or "the file",
            value=first.value,
            expected=first.expected,
            next_action=_list_others([(dotted(p.key_path), p.line) for p in others]),
        ) from error


def dump_yaml(data: Plain) -> str:
    """Write YAML in block style, keys in the given order; ``parse_yaml`` reads the same back."""
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=100,
    )
    return text


def _list_others(others: list[tuple[str, int | None]]) -> str:
    if not others:
        return ""
    shown = ", ".join(f"{key} (line {line})" for key, line in others[:5])
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    return f"Also wrong: {shown}{more}. Correct the file and {REPEAT}."


def _read_bytes(file: Path, max_bytes: int) -> bytes:
    def refuse(found: str, cause: Exception | None = None) -> ConfigError:
        error = ConfigError(
            file=file,
            key="the file",
            value=Found(found),
            expected=f"a readable YAML file of at most {max_bytes} bytes",
            next_action="Check the path and the file's permissions.",
        )
        error.__cause__ = cause
        return error

    try:
        if stat.S_ISDIR(file.stat().st_mode):
            raise refuse("a directory")
        with os.fdopen(open_regular(file), "rb") as stream:
            content = stream.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise refuse("missing", error) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(f"unreadable ({reason})", error) from error
    if len(content) > max_bytes:
        raise refuse(f"longer than {max_bytes} bytes")
    return content


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark is not None else 1


class _Composer:
    """Builds plain values from parser events; the depth is bounded and nothing is shared."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._text = text
        self._lines: dict[KeyPath, int] = {}

    def compose(self) -> tuple[Plain, dict[KeyPath, int]]:
        try:
            self._events = yaml.parse(self._text, Loader=_LOADER)
            next(self._events)  # stream start
            event = next(self._events)
            if isinstance(event, yaml.StreamEndEvent):
                return None, {}
            data = self._value((), next(self._events))
            next(self._events)  # document end
            if isinstance(extra := next(self._events), yaml.DocumentStartEvent):
                raise self._refuse(extra, (), "a second document", "one YAML document")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else None
            problem = error.problem or str(error)
            if "nesting" in problem:  # libyaml has its own limit, which may come first
                raise self._too_deep(line) from error
            raise self._syntax(problem, line) from error
        except yaml.YAMLError as error:
            problem = getattr(error, "reason", None) or str(error).splitlines()[0]
            raise self._syntax(str(problem), self._line_of_bad_character(error)) from error
        return data, self._lines

    def _line_of_bad_character(self, error: yaml.YAMLError) -> int | None:
        position = getattr(error, "position", None)
        if not isinstance(position, int):
            return None
        return self._text.encode()[:position].count(b"\n") + 1

    def _syntax(self, problem: str, line: int | None) -> ConfigError:
        expected = "`key: value` lines, indented by spaces"
        return self._error(line, f"broken ({problem})", expected, key="the YAML syntax")

    def _too_deep(self, line: int | None) -> ConfigError:
        return self._error(line, "nested too deep", f"at most {MAX_DEPTH} levels")

    def _refuse(self, event: yaml.Event, key: KeyPath, found: str, expected: str) -> ConfigError:
        return self._error(_line(event), found, expected, key=dotted(key) or "the file")

    def _error(
        self, line: int | None, found: str, expected: str, *, key: str = "the file"
    ) -> ConfigError:
        return ConfigError(
            file=self._file, line=line, key=key, value=Found(found), expected=expected
        )

    def _value(self, key: KeyPath, event: yaml.Event) -> Plain:
        if len(key) > MAX_DEPTH:
            raise self._too_deep(_line(event))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._refuse(event, key, "an anchor or alias", "the value itself, written out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise self._refuse(event, key, "a YAML tag", "a plain value without a tag")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(key, event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(key)
        return self._mapping(key)

    def _scalar(self, key: KeyPath, event: yaml.ScalarEvent) -> Plain:
        if not event.value.isascii() and any("\ud800" <= c <= "\udfff" for c in event.value):
            raise self._refuse(event, key, "half of a surrogate pair", "Unicode text")
        plain = event.style is None or event.style == ""
        return resolve_plain(event.value) if plain and event.tag is None else str(event.value)

    def _sequence(self, key: KeyPath) -> list[Plain]:
        items: list[Plain] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            item_key = (*key, len(items))
            self._lines[item_key] = _line(event)
            items.append(self._value(item_key, event))
        return items

    def _mapping(self, key: KeyPath) -> dict[str, Plain]:
        entries: dict[str, Plain] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, key, "a mapping with a key that is not text", "text keys")
            name_value = self._scalar(key, event)
            name = name_value if isinstance(name_value, str) else event.value
            child = (*key, name)
            if name in entries:
                found = f"given twice, first in line {self._lines[child]}"
                raise self._refuse(event, child, found, "each key once")
            self._lines[child] = _line(event)
            entries[name] = self._value(child, next(self._events))
        return entries


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar in the core schema (YAML 1.2.2, section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes every text that ``resolve_plain`` would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    unclear = not isinstance(resolve_plain(text), str) or not text.isprintable()
    style = '"' if unclear else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
