"""Tests that boot the built arm64 image under emulation; the default run leaves them alone.

    make image-qemu test-image

``EDGEINSPECT_IMAGE`` names the folder that ``image.qemu.build`` wrote. With
``--log-cli-level=INFO`` every figure is told as soon as it is known.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from image.qemu import disk
from image.qemu.machine import Machine
from image.tests import guest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CARD_MIB = 4096
READY = "ready"
CONF = """\
format: 1
hostname: press-7
ssh_keys:
  - {key}
time_zone: Europe/Berlin
station_file: station.yaml
"""
_figures: list[str] = []
_log = logging.getLogger("edgeinspect.image")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--power-cuts", type=int, default=3, help="how often the emulator is killed")
    parser.addoption(
        "--work", type=Path, help="keep the machine that is ready here, for the next run"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("measured on the emulated machine")
        for line in _figures:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """A figure for the end of the run; logged at once, for a run that somebody cuts off."""

    def keep(figure: str) -> None:
        _figures.append(figure)
        _log.info("%s", figure)

    return keep


@pytest.fixture(scope="session")
def image() -> Path:
    """What ``make image-qemu`` has built."""
    folder = Path(os.environ.get("EDGEINSPECT_IMAGE", REPOSITORY / "build" / "image"))
    if not (folder / "edgeinspect.img").exists():
        pytest.exit(f"no image in {folder}; run: make image-qemu", returncode=2)
    return folder.resolve()


@pytest.fixture(scope="session")
def samples(image: Path) -> Path:
    """Updates to install, which only ``--samples`` of ``image.qemu.build`` makes."""
    folder = image / "samples"
    if not (folder / "broken.raucb").exists():
        pytest.fail(f"no sample updates: python -m image.qemu.build {image} --samples")
    return folder


@pytest.fixture(scope="session")
def work(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cards lie."""
    kept = pytestconfig.getoption("--work")
    if kept is None:
        return tmp_path_factory.mktemp("cards")
    folder = Path(kept).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def key(work: Path) -> Path:
    """The technician's key."""
    path = work / "key"
    if not path.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "technician", "-f", path]
        subprocess.run([str(word) for word in command], check=True)
    return path


@pytest.fixture(scope="session")
def conf(work: Path, key: Path) -> Path:
    """A good ``station.conf``."""
    path = work / "station.conf"
    path.write_text(CONF.format(key=key.with_suffix(".pub").read_text().strip()))
    return path


@pytest.fixture(scope="session")
def new_card(image: Path) -> Callable[..., Path]:
    """Makes a card as it comes from the writer, with files on its settings partition."""

    def make(folder: Path, **settings: Path) -> Path:
        card = disk.copy_for_test(image / "edgeinspect.img", folder / "card.img", size_mib=CARD_MIB)
        disk.put_settings(card, {name.replace("_", "."): path for name, path in settings.items()})
        disk.allow_root_shell(card, folder)
        return card

    return make


@pytest.fixture(scope="session")
def ready_card(
    work: Path, key: Path, conf: Path, new_card: Callable[..., Path], note: Callable[[str], None]
) -> Path:
    """A card that was started for the first time, with the state of its inspecting machine."""
    kept = work / "ready.qcow2"
    if kept.exists():
        return kept
    raw = new_card(work, station_conf=conf, station_yaml=HERE / "station.yaml")
    card = disk.with_states(raw)
    with Machine(card, key) as machine:
        machine.start()
        shell_s = guest.wait_until_shell(machine)
        inspecting_s = shell_s + guest.wait_until_inspecting(machine)
        machine.wait_for_login()
        note(f"first start: inspecting after {inspecting_s:.0f} s")
        guest.wait_until_settled(machine)
        guest.wait_until(
            "recorded", lambda: len(guest.records(machine)["parts"]) >= 2, limit_s=1800
        )
        machine.keep_state(READY)
    card.rename(kept)
    return kept


@pytest.fixture
def fresh(ready_card: Path, key: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine of its own, inspecting, for one test to break."""
    with Machine(_copy(ready_card, tmp_path), key) as machine:
        machine.start(state=READY)
        machine.wait_for_login()
        yield machine


@pytest.fixture(scope="session")
def _shared(
    ready_card: Path, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    with Machine(_copy(ready_card, tmp_path_factory.mktemp("shared")), key) as machine:
        machine.start(state=READY)
        machine.wait_for_login()
        yield machine


@pytest.fixture
def shared_machine(_shared: Machine) -> Iterator[Machine]:
    """An inspecting machine for tests that only look, or put back what they changed."""
    _shared.go_on()
    yield _shared
    _shared.pause()  # so that it takes no time from another test's machine


def _copy(ready_card: Path, folder: Path) -> Path:
    return Path(shutil.copy(ready_card, folder / "card.qcow2"))
