"""The benchmark of the pulse thread: its pairing of edges, and that it runs."""

from __future__ import annotations

import json

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect_tools.bench import pulse
from edgeinspect_tools.cli import application

MS = 1_000_000


def test_every_edge_is_paired_with_the_drive_that_it_caused() -> None:
    windows = [(100 * MS, 112 * MS), (130 * MS, 142 * MS), (160 * MS, 172 * MS)]
    driven = [
        (True, 100 * MS + 5),
        (False, 112 * MS + 7),
        # the second was slept through; the third came late
        (True, 163 * MS),
        (False, 172 * MS + 1),
    ]
    missed = pulse.PULSE_NS
    assert pulse.edge_errors_ns(windows, driven) == [5, 7, missed, missed, 3 * MS, 1]


def test_percentiles_are_in_microseconds() -> None:
    errors = pulse.PulseErrors.of_ns([1000] * 999 + [50_000])
    assert (errors.p50_us, errors.max_us, errors.edges) == (1.0, 50.0, 1000)


def test_the_benchmark_runs_and_tells_both_ways_idle_and_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest must not keep the scheduling that the pulse thread asks for.
    monkeypatch.setattr(pulse, "make_this_thread_punctual", lambda core: [])
    monkeypatch.setattr(
        "edgeinspect.runtime.pulse_thread.make_this_thread_punctual", lambda core: ["not in tests"]
    )
    monkeypatch.setattr(pulse, "BATCH", 10)
    arguments = ["bench", "pulse", "--pulses", "50", "--json"]
    assert run_command_line(application, program="edgeinspect-tools", arguments=arguments) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["refused"] == "not in tests"
    for load in ("idle", "full load"):
        for driver in ("pulse thread", "bare loop"):
            errors = answer["errors"][load][driver]
            assert errors["edges"] == 100
            assert 0 <= errors["p50_us"] <= errors["p99_us"] <= errors["max_us"]
