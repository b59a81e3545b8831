"""The one sentence on whether a model may be used, and what becomes of one that may not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.bundle.directory import load_bundle
from edgeinspect.cli.application import run_command_line
from edgeinspect.intervals import clopper_pearson
from edgeinspect_tools.all_in_one import chain
from edgeinspect_tools.cli import application as tools
from edgeinspect_tools.judgement import Asked, judge, pictures_needed
from tests.helpers.bundle_samples import spot_bundle


def figures(
    *, good: int = 200, rejected: int = 2, defective: int = 100, passed: int = 2, drawn: int = 0
) -> dict[str, Any]:
    return {
        "n_good": good,
        "n_defective": defective,
        "n_drawn": drawn,
        "false_rejects": rejected,
        "false_reject_rate": rejected / good if good else None,
        "false_reject_lower95": clopper_pearson(rejected, good)[0],
        "false_reject_upper95": clopper_pearson(rejected, good)[1],
        "escapes": passed,
        "escape_rate": passed / defective if defective else None,
        "escape_lower95": clopper_pearson(passed, defective)[0],
        "escape_upper95": clopper_pearson(passed, defective)[1],
        "auroc_int8": 0.99,
        "average_precision_int8": 0.99,
        "flips": None,
    }


def test_a_good_model_is_fit_for_use_and_says_how_sure_that_is() -> None:
    found = judge(figures(), Asked())
    assert found.fit_for_use
    assert found.sentence == (
        "Fit for use: of 100 good parts about 1 rejected (at most 4), "
        "of 100 defective parts about 2 passed (at most 8). "
        "To show at most 5 of 100 defective parts, test 42 more of them."
    )
    assert found.advice == ""
    sure = judge(figures(defective=1000), Asked())
    assert sure.sentence.endswith("about 0.2 passed (at most 1).")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (figures(rejected=146), "about 73 rejected (at most 80), "),
        (figures(passed=100), "(at most 100); at most 5 of 100 defective parts were requested."),
        (figures(rejected=11, passed=6), "5 of 100 good parts and 5 of 100 defective parts were"),
        (figures(defective=4, passed=0), "tested on only 4 defective parts, too few to tell"),
        (figures(good=3, rejected=0, defective=2, passed=0), "only 3 good parts and 2 defective"),
        (figures(defective=0, passed=0), "tested on only 0 defective parts"),
        (figures(drawn=100, passed=50), "of 100 drawn defects about 50 passed"),
    ],
)
def test_a_model_that_misses_what_was_asked_is_not(found: dict[str, Any], words: str) -> None:
    judged = judge(found, Asked())
    assert not judged.fit_for_use
    assert judged.sentence.startswith("Do not use: ")
    assert words in judged.sentence
    assert judged.advice.endswith(".")


@pytest.mark.parametrize(("errors", "limit"), [(0, 0.05), (2, 0.05), (0, 0.5), (7, 0.01)])
def test_as_many_pictures_are_needed_as_the_exact_interval_takes(errors: int, limit: float) -> None:
    needed = pictures_needed(errors, limit)
    assert clopper_pearson(errors, needed)[1] <= limit < clopper_pearson(errors, needed - 1)[1]


def test_the_bounds_are_the_makers() -> None:
    assert judge(figures(rejected=10, passed=5), Asked()).fit_for_use, "exactly what was asked"
    assert not judge(figures(), Asked(escapes=0.01)).fit_for_use
    assert judge(figures(rejected=40), Asked(false_rejects=0.2)).fit_for_use
    assert judge(figures(good=1, rejected=1), Asked(false_rejects=1.0)).fit_for_use
    assert not judge(figures(good=1, rejected=1, passed=9), Asked(false_rejects=1.0)).fit_for_use


def test_drawn_defects_are_named_as_such() -> None:
    found = judge(figures(drawn=100), Asked())
    assert found.fit_for_use
    assert found.sentence.endswith(
        "of 100 drawn defects about 2 passed (at most 8). To show at most 5 of 100 drawn defects, "
        "test 42 more of them. No real defect was tested."
    )


class Found:
    """What ``verify`` found, as far as the command looks."""

    def __init__(self, escapes: int) -> None:
        self._escapes = escapes

    def figures(self) -> dict[str, Any]:
        return figures(passed=self._escapes)


@pytest.mark.parametrize(("escapes", "code"), [(1, 0), (60, 1)])
def test_only_a_model_that_is_fit_for_use_is_released(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    escapes: int,
    code: int,
) -> None:
    made = spot_bundle(tmp_path)

    def run_chain(text: str, out: Path, *_: object, **__: object) -> tuple[Found, dict[str, float]]:
        shutil.copytree(made.directory, out, dirs_exist_ok=True)
        return Found(escapes), {"train": 1.0}

    monkeypatch.setattr(chain, "run_chain", run_chain)
    out = tmp_path / "bundle"
    command = ("all", "pictures", "--out", str(out))
    run = run_command_line(tools, program="edgeinspect-tools", arguments=(*command, "--json"))
    assert run == code
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["fit_for_use"] is (code == 0)
    staged = tmp_path / "bundle.run" / "not-released"
    assert printed["bundle"] == str(staged if code else out)
    assert out.exists() is (code == 0)
    assert load_bundle(Path(printed["bundle"])).digest == made.digest
    if code:
        assert run_command_line(tools, program="edgeinspect-tools", arguments=command) == 1
        words = " ".join(capsys.readouterr().out.split())
        assert "Do not use:" in words and "The model was not released; it is in" in words
    else:
        assert run_command_line(tools, program="edgeinspect-tools", arguments=command) == 5
        assert "already exists" in capsys.readouterr().err
