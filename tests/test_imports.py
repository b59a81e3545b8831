"""Imports run one way, and importing anything has no effects."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeinspect
import edgeinspect_tools

STATION = Path(edgeinspect.__file__).parent
TOOLS = Path(edgeinspect_tools.__file__).parent

# What each package may import of edgeinspect; top-level modules are named by their own name.
BASE = {
    "json_text",
    "picture_bytes",
    *("errors", "part", "ports", "clocks"),
    *("atomic_file", "csv_cells", "file_lock", "set_aside", "yaml_file", "yaml_expected"),
}
MAY_IMPORT = {
    "line": BASE,
    "bundle": BASE | {"line"},
    "settings": BASE | {"line"},
    "records": BASE | {"line"},
    "hw": BASE | {"line", "bundle", "settings", "records"},
    "sim": BASE | {"line", "bundle", "settings", "records", "hw"},
    "runtime": BASE | {"line", "bundle", "settings", "records", "hw", "sim"},
    "setup": BASE | {"line", "bundle", "settings", "records", "hw", "sim", "runtime"},
    "tune": BASE | {"line", "bundle", "settings", "records", "runtime"},
}
HEAVY = {"numpy", "cv2", "pydantic", "ai_edge_litert", "tensorflow", "yaml", "textual", "scipy"}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_packages(path: Path) -> set[str]:
    names = (name.split(".") for name in imported_modules(path))
    return {parts[1] for parts in names if parts[0] == "edgeinspect" and len(parts) > 1}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package, "__version__"}
    for path in (STATION / package).rglob("*.py"):
        strangers = own_packages(path) - allowed
        assert not strangers, f"{path.relative_to(STATION)} imports {sorted(strangers)}"


def test_the_station_never_imports_the_tools() -> None:
    for path in STATION.rglob("*.py"):
        assert not [n for n in imported_modules(path) if n.startswith("edgeinspect_tools")], path


def test_errors_import_nothing_of_ours() -> None:
    assert own_packages(STATION / "errors.py") == set()


def all_modules() -> list[str]:
    names = []
    for root, package in ((STATION, "edgeinspect"), (TOOLS, "edgeinspect_tools")):
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            names.append(".".join(parts).removesuffix(".__init__"))
    # Conversion scripts are run, never imported, each in the environment of its converter.
    return [name for name in names if not name.endswith("__main__") and ".scripts." not in name]


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_every_module_prints_nothing_and_starts_nothing() -> None:
    modules = all_modules()
    tune = "edgeinspect.ui.tune"
    screens = {f"{tune}.{name}" for name in ("app", "dialogs", "late_answers", "picture")}
    assert screens < set(modules)
    program = (
        "import importlib, threading, sys\n"
        f"for name in {[n for n in modules if n not in screens]!r}: importlib.import_module(name)\n"
        "assert 'textual' not in sys.modules\n"
        f"for name in {sorted(screens)!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'ai_edge_litert' not in sys.modules\n"
    )
    assert run_python(program) == ""


@pytest.mark.parametrize("module", ["edgeinspect.cli.main", "edgeinspect_tools.cli"])
def test_starting_a_command_line_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    assert run_python(program) == ""
