"""The documents list every key with the bounds and the default that the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from edgeinspect.files.yaml_expected import describe_schema
from edgeinspect.files.yaml_file import parse_yaml, validate
from edgeinspect.settings.recipe import Recipe
from edgeinspect.settings.recipe_store import ActivePointer
from edgeinspect.settings.station_file import StationFile

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def rows_of(
    schema: dict[str, Any], root: dict[str, Any], *, here: str = ""
) -> Iterator[tuple[str, str, str]]:
    """(key, what is allowed, default) of every key that holds a value."""
    required = schema.get("required", [])
    for key, child in schema.get("properties", {}).items():
        path = f"{here}.{key}" if here else key
        sections = [s for s in sections_of(child, root) if "properties" in s]
        if sections:
            for section in sections:
                yield from rows_of(section, root, here=path)
            continue
        items = [s for s in sections_of(child.get("items", {}), root) if "properties" in s]
        for section in items:
            yield from rows_of(section, root, here=f"{path}[]")
        if not items:
            default = child.get("default")
            shown = "required" if key in required else default_text(default)
            yield path, describe_schema(child, root), shown


def default_text(default: object) -> str:
    if isinstance(default, bool) or default is None:
        return {None: "null", True: "true", False: "false"}[default]
    return f"{default:g}" if isinstance(default, float) else str(default)


def sections_of(schema: dict[str, Any], root: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return sections_of(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return [found for option in options for found in sections_of(option, root)]
    return [schema]


def documented(name: str) -> dict[str, tuple[str, str]]:
    text = (DOCS / name).read_text()
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| .+ \|$", text, re.MULTILINE)
    keys = [key for key, _, _ in rows]
    assert len(keys) == len(set(keys))
    return {key: (allowed.strip(), default.strip()) for key, allowed, default in rows}


def wire_rows(wire: str) -> dict[str, tuple[str, str]]:
    schema = StationFile.model_json_schema()
    prefix = f"lines.{wire}."
    rows = rows_of(schema, schema)
    return {key.removeprefix(prefix): (a, d) for key, a, d in rows if key.startswith(prefix)}


WIRES = {wire: wire_rows(wire) for wire in ("trigger", "reject")}


@pytest.mark.parametrize(
    ("document", "models"),
    [("station-file.md", [StationFile]), ("recipe.md", [Recipe, ActivePointer])],
)
def test_every_key_is_documented(document: str, models: list[type[BaseModel]]) -> None:
    expected: dict[str, tuple[str, str]] = {}
    for model in models:
        schema = model.model_json_schema()
        prefix = "" if model is not ActivePointer else "active.yaml: "
        for key, allowed, default in rows_of(schema, schema):
            either = expected.get(prefix + key)  # one of two forms of a section
            words = f"{either[0]}, or {allowed}" if either else allowed
            expected[prefix + key] = (words, default)
    for line in [key for key in expected if key.startswith("lines.") and key.count(".") == 2]:
        side, wire, key = line.split(".")
        del expected[line]
        if wire in ("trigger", "reject"):
            expected[f"{side}.{'IN' if wire == 'trigger' else 'OUT'}PUT.{key}"] = WIRES[wire][key]
    assert documented(document) == expected


def yaml_blocks(document: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (DOCS / document).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    ("document", "model"), [("station-file.md", StationFile), ("recipe.md", Recipe)]
)
def test_examples_in_the_documents_are_valid(document: str, model: type[BaseModel]) -> None:
    blocks = yaml_blocks(document)
    assert blocks
    for block in blocks:
        validate(parse_yaml(block.encode(), path=document), model)
