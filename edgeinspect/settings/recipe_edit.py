"""A recipe as people edit it: the keys that may be changed, one at a time or together.

The tool sets author, reason, time and parent itself; they cannot be edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeinspect.errors import ConfigError, UsageError
from edgeinspect.files.yaml_file import Plain, dump_yaml, parse_yaml, resolve_plain, validate
from edgeinspect.settings.recipe import Recipe

STAMPS = ("format", "product", "revision", "parent", "author", "reason", "created", "audit")
_THRESHOLDS = "thresholds"
EVERY_CLASS = "*"


def editable(recipe: Recipe) -> dict[str, Any]:
    """The keys that people may change, as plain values."""
    values = recipe.model_dump(mode="json")
    return {key: value for key, value in values.items() if key not in STAMPS}


def editable_text(recipe: Recipe) -> str:
    """The same as YAML, for an editor."""
    return dump_yaml(editable(recipe))


def with_settings(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Change single keys, each as ``key=value``.

    Keys are dotted: ``checks.focus_min=40``, ``roi=null``, and by the name of the class
    ``thresholds.scratch.reject=0.62`` or ``thresholds.*.reject=0.62``. Values are read as in a
    YAML file. Whether the result is a recipe is for ``draft_of`` to say.

    Raises:
        UsageError: no ``key=value``, a stamped key, or a class that is not there.
    """
    changed: dict[str, Any] = _copied(values)
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise UsageError(
                f"{setting!r} is not KEY=VALUE.",
                next_action="Write, for example: --set thresholds.scratch.reject=0.62",
            )
        if path[0] in STAMPS:
            raise UsageError(f"{path[0]} is set automatically and cannot be changed.")
        value = resolve_plain(text.strip())
        if path[0] == _THRESHOLDS:
            _set_threshold(changed, path[1:], value)
        else:
            _set(changed, path, value)
    return changed


def with_file(values: Mapping[str, Any], content: bytes, *, path: str) -> dict[str, Any]:
    """Replace the top-level keys that a YAML file gives; the tool's own stamps in it are left out.

    Raises:
        ConfigError: it is not YAML.
        UsageError: it is not a mapping.
    """
    data = parse_yaml(content, path=path).data
    if not isinstance(data, dict):
        raise UsageError(f"{path} does not contain keys and values of a recipe.")
    given = {key: value for key, value in data.items() if key not in STAMPS}
    return {**_copied(values), **given}


def draft_of(
    values: Mapping[str, Any], base: Recipe, *, author: str, reason: str, first: bool = False
) -> Recipe:
    """Return the values as a draft based on ``base``.

    Args:
        values: the edited keys.
        base: the revision that the draft is based on.
        author: who makes the change.
        reason: why.
        first: the draft has no parent; ``base`` only gave the defaults.

    Raises:
        ConfigError: a value breaks a rule; the error names key, value and expectation.
    """
    stamps = base.model_dump(mode="json", include=set(STAMPS))
    parent = {"parent": None} if first else {"parent": base.revision, "revision": base.revision + 1}
    whole: dict[str, Plain] = {**stamps, **parent, "author": author, "reason": reason, **values}
    name = f"the new revision of {base.product}"
    try:
        return validate(parse_yaml(dump_yaml(whole).encode(), path=name), Recipe)
    except ConfigError as error:
        # Its line is one of a text that nobody has seen.
        raise ConfigError(
            file=name,
            key=error.key,
            value=error.value,
            expected=error.expected,
            next_action="Nothing was stored. Give a valid value.",
        ) from error


def differences(old: Recipe, new: Recipe) -> list[tuple[str, Any, Any]]:
    """(key, old, new) of each key that differs; thresholds by the name of their class."""
    before, after = _flat(editable(old)), _flat(editable(new))
    keys = [*before, *(key for key in after if key not in before)]
    return [
        (key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    ]


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(v) if isinstance(v, dict) else v for key, v in values.items()}


def _set(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    *sections, last = path
    for section in sections:
        inner = values.get(section)
        if not isinstance(inner, dict):
            inner = values[section] = {}
        values = inner
    values[last] = value


def _set_threshold(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    entries = values.get(_THRESHOLDS)
    names = [str(entry["name"]) for entry in entries] if isinstance(entries, list) else []
    name, key = ".".join(path[:-1]), path[-1] if path else ""
    if not name or key not in ("review", "reject") or name not in (EVERY_CLASS, *names):
        raise UsageError(
            f"thresholds.{'.'.join(path)} is not a threshold; the classes are: {', '.join(names)}.",
            next_action="Write thresholds.CLASS.review or thresholds.CLASS.reject.",
        )
    values[_THRESHOLDS] = [
        {**entry, key: value} if name in (EVERY_CLASS, entry["name"]) else entry
        for entry in entries or ()
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == _THRESHOLDS and not prefix:
            for entry in value:
                for limit in ("review", "reject"):
                    found[f"{_THRESHOLDS}.{entry['name']}.{limit}"] = entry[limit]
        elif isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
