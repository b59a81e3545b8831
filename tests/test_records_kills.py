"""Nothing acknowledged is lost to kills and power cuts; the long run is ``make test-kills``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_records import crash_at_calls, kill_at_random, quick_folder
from syscall_tracing import can_trace

from edgeinspect.records import database, ring

traced = pytest.mark.skipif(bool(can_trace()), reason=can_trace() or "-")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=quick_folder()) as name:
        yield Path(name)


def test_kills_at_random_moments_lose_nothing(folder: Path) -> None:
    account = kill_at_random(folder, kills=200, seed=7, rotate=50)
    assert len(account.acknowledged) > 200


@traced
@pytest.mark.parametrize("power_cut", [False, True], ids=["kill", "power cut"])
@pytest.mark.parametrize("prepared", [False, True], ids=["fresh", "full"])
def test_a_death_at_file_changing_calls_loses_nothing(
    folder: Path, prepared: bool, power_cut: bool
) -> None:
    deaths, calls = crash_at_calls(folder, prepared=prepared, power_cut=power_cut, every=11)
    assert deaths == len(range(0, calls, 11)) > 10


@traced
def test_the_power_cut_finds_a_picture_whose_name_was_not_made_durable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "fsync_directory", lambda folder: None)
    with pytest.raises(Exception, match="evicted"):
        crash_at_calls(folder, prepared=False, power_cut=True, every=1, first=100)


@traced
def test_the_power_cut_finds_a_commit_that_was_not_made_durable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "NORMAL")
    with pytest.raises(AssertionError, match=r"lost|gone"):
        crash_at_calls(folder, prepared=False, power_cut=True, every=1, first=100)
