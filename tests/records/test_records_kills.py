"""Nothing acknowledged is lost to kills and power cuts; the long run is ``make test-kills``.

The killing forks, so it runs in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def kill_records(*options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.evidence.kill_records", *options],
        cwd=REPOSITORY,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if skipped := re.search("skipped, (.*)", done.stdout):
        pytest.skip(skipped[1])
    return done


def test_kills_at_random_moments_lose_nothing() -> None:
    done = kill_records("--kills", "200", "--rotate", "50", "--every", "0", "--seed", "7")
    assert done.returncode == 0, done.stderr
    found = re.search(
        r"200 deaths, (\d+) records acknowledged, 0 lost, .*, (\d+) pruned and counted once",
        done.stdout,
    )
    assert found is not None
    assert int(found[1]) > 200
    assert int(found[2]) > 20


def test_a_death_at_calls_that_change_files_loses_nothing() -> None:
    done = kill_records("--kills", "0", "--every", "11")
    assert done.returncode == 0, done.stderr
    runs = re.findall(
        r"(SIGKILL|power cut) at .*, (fresh|full) .*: (\d+) deaths .* (\d+) calls", done.stdout
    )
    assert len(runs) == 4
    for _, _, deaths, calls in runs:
        assert int(deaths) == len(range(0, int(calls), 11)) > 10


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        ("picture-names", "was removed"),
        ("commits", "acknowledged records lost|tables are gone"),
        ("pruning", "pruned, not|numbers differ"),
    ],
)
def test_a_broken_promise_is_found(broken: str, finding: str) -> None:
    done = kill_records("--kills", "0", "--every", "9", "--first", "100", "--break", broken)
    assert done.returncode == 1
    assert re.search(finding, done.stderr), done.stderr


@pytest.mark.slow
def test_kills_with_the_disk_full_lose_nothing() -> None:
    done = kill_records("--full-disk", "--kills", "60", "--seed", "3")
    assert done.returncode == 0, done.stderr
    found = re.search(
        r"60 deaths, DiskFull raised (\d+) times in (\d+) lives, (\d+) records acknowledged after"
        r" it .*, (\d+) records acknowledged, 0 lost",
        done.stdout,
    )
    assert found is not None
    refused, lives, after, acknowledged = map(int, found.groups())
    assert refused >= lives > 40
    assert acknowledged > after > 0


@pytest.mark.slow
def test_an_acknowledgement_on_a_full_disk_would_be_found() -> None:
    done = kill_records("--full-disk", "--kills", "60", "--break", "full-disk")
    assert done.returncode == 1
    assert "acknowledged records lost" in done.stderr, done.stderr
