"""Imports run one way, and importing anything has no effects."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import edgeinspect
import edgeinspect_tools

STATION = Path(edgeinspect.__file__).parent
TOOLS = Path(edgeinspect_tools.__file__).parent

GROUND = ("errors", "faults", "part", "ports", "clocks", "intervals", "files", "undo")
ROOMS = (
    *("line", "bundle", "settings", "records", "control", "hw", "sim", "runtime"),
    *("drawing", "terminal", "challenge", "assembly", "labels", "study", "health", "tune"),
    *("setup", "screens", "cli"),
)
"""From the ground up: a room may import the rooms before it and the ground, never one after it."""
TOOL_ROOMS = (
    *("data", "edgetpu", "convert", "train", "quantize", "pack", "shipped", "verify"),
    *("all_in_one", "bench"),
)
HEAVY = {"numpy", "cv2", "pydantic", "ai_edge_litert", "tensorflow", "yaml", "textual", "scipy"}
HEAVY |= {"jinja2"}


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


def test_every_folder_is_a_room_and_every_room_has_its_place() -> None:
    folders = {path.parent.name for path in STATION.glob("*/__init__.py")}
    assert folders == {*ROOMS, "files"}
    alone = {path.stem for path in STATION.glob("*.py")} - {"__init__", "__main__"}
    assert alone == set(GROUND) - {"files"}


def test_every_room_says_what_lives_in_it_and_where_to_begin() -> None:
    for root in (STATION, TOOLS):
        for path in root.rglob("__init__.py"):
            says = ast.get_docstring(ast.parse(path.read_text())) or ""
            assert path == STATION / "__init__.py" or says, path
            if path.parent.parent == STATION:
                assert "may import" in says and "egin with" in says, path


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    allowed = {*GROUND, *ROOMS[: ROOMS.index(room) + 1], "__version__"}
    for path in (STATION / room).rglob("*.py"):
        strangers = own_packages(path) - allowed
        assert not strangers, f"{path.relative_to(STATION)} imports {sorted(strangers)}"


@pytest.mark.parametrize("room", GROUND)
def test_the_ground_imports_no_room(room: str) -> None:
    files = [STATION / f"{room}.py"] if room != "files" else [*(STATION / room).rglob("*.py")]
    for path in files:
        assert not own_packages(path) & set(ROOMS), path


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types alone count too: two modules that need each other are one."""
    files = module_files()
    graph = {name: imported_among(files.keys() - {name}, path) for name, path in files.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def module_files() -> dict[str, Path]:
    files = {}
    for root, package in ((STATION, "edgeinspect"), (TOOLS, "edgeinspect_tools")):
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            files[".".join(parts).removesuffix(".__init__")] = path
    return files


def imported_among(known: Set[str], path: Path) -> set[str]:
    """The known modules that a module names; a package only where nothing in it is named."""
    found = known & set(imported_modules(path))
    return {n for n in found if not any(other.startswith(f"{n}.") for other in found)}


def test_the_station_never_imports_the_tools() -> None:
    for path in STATION.rglob("*.py"):
        assert not [n for n in imported_modules(path) if n.startswith("edgeinspect_tools")], path


def test_no_test_imports_another_test() -> None:
    """What tests share is in tests/helpers; programs in tests/evidence are run and tried."""
    repository = Path(__file__).resolve().parents[2]
    shared = {
        "tests.camera_bench",
        "tests.helpers",
        "tests.evidence",
        "tests.mutation",
        "tests.newest",
        "tests.vm",
    }
    for path in [*repository.glob("tests/**/*.py"), *repository.glob("image/tests/**/*.py")]:
        for name in imported_modules(path):
            assert not name.split(".")[-1].startswith(("test_", "conftest")), path
            if name.startswith("tests."):
                assert ".".join(name.split(".")[:2]) in shared, f"{path} imports {name}"


def test_errors_import_nothing_of_ours() -> None:
    assert own_packages(STATION / "errors.py") == set()


def all_modules() -> list[str]:
    # Conversion scripts are run, never imported, each in the environment of its converter.
    return [n for n in module_files() if not n.endswith("__main__") and ".scripts." not in n]


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_every_module_prints_nothing_and_starts_nothing() -> None:
    modules = all_modules()
    tune = "edgeinspect.screens.tune"
    screens = {
        f"{tune}.{name}"
        for name in (
            *("tune_screen", "tune_canvas", "dialogs", "late_answers", "part_picture"),
            *("filmstrip", "background_tasks"),
        )
    }
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
