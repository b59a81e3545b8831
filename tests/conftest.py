"""What all tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.station_clock import StationClock

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

os.environ.pop(
    "COLUMNS", None
)  # output is as wide as its texts, whatever terminal starts the tests

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real pictures and third-party models that lie beside a developer's checkout."""
    folder = Path(os.environ.get("EDGEINSPECT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "models").is_dir():
        pytest.skip(f"no real pictures and models at {folder}; set EDGEINSPECT_SHARED")
    return folder


@pytest.fixture(scope="session")
def edgetpu_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delegate library with an Edge TPU's ways of failing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the delegate library with")
    made = tmp_path_factory.mktemp("edgetpu") / "libedgetpu-fake.so"
    source = Path(__file__).parent / "helpers" / "fake_edgetpu.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source], check=True)
    return made


@pytest.fixture
def fake_edgetpu(edgetpu_library: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Call it with what the library is to do: see ``fake_edgetpu.c``."""
    monkeypatch.setenv("EDGEINSPECT_EDGETPU_LIBRARY", str(edgetpu_library))
    return lambda mode: monkeypatch.setenv("EDGEINSPECT_FAKE_EDGETPU", mode)


@pytest.fixture
def clock() -> Iterator[StationClock]:
    """The clock of a station under test: time passes only while all its threads wait."""
    rooms = ("edgeinspect.runtime.", "edgeinspect.challenge.", "edgeinspect.sim.live_")
    with StationClock().in_charge(*rooms) as clock:
        yield clock
    clock.end()
