"""Hooks of the documentation site: a page of the API reference for each room.

The pages are made when the site is built, so a new room needs no page of its own. mkdocstrings
fills them from the docstrings.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[1]
PACKAGES = {"edgeinspect": REPOSITORY / "edgeinspect", "edgeinspect_tools": REPOSITORY / "tools"}


def rooms() -> dict[str, Path]:
    """Modules and rooms of both packages by their dotted name, in alphabetical order."""
    found = {}
    for package, root in PACKAGES.items():
        folder = root if root.name == package else root / package
        for path in sorted(folder.iterdir()):
            if (path / "__init__.py").is_file():
                found[f"{package}.{path.name}"] = path / "__init__.py"
            elif path.suffix == ".py" and not path.name.startswith("__"):
                found[f"{package}.{path.stem}"] = path
    return found


def page(name: str) -> str:
    """Where the page of a room is, below the site's root."""
    return f"reference/api/{name}.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages to the section Reference of the navigation."""
    api: list[Any] = ["reference/api/index.md", *({name: page(name)} for name in rooms())]
    sections: list[dict[str, Any]] = config.nav or []
    for section in sections:
        if "Reference" in section:
            section["Reference"].append({"Python API": api})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages themselves."""
    rows = ["# Python API", "", "| room | contents |", "|---|---|"]
    for name, path in rooms().items():
        says = ast.get_docstring(ast.parse(path.read_text())) or ""
        rows.append(f"| [`{name}`]({name}.md) | {says.partition(chr(10))[0]} |")
        text = f"# {name}\n\n::: {name}\n"
        files.append(File.generated(config, page(name), content=text))
    index = "\n".join([*rows, ""])
    files.append(File.generated(config, "reference/api/index.md", content=index))
    return files
