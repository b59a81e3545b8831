"""The table of checks, and a check of our own added through it."""

from __future__ import annotations

import subprocess
import sys

from edgeinspect.line.checks.all_checks import CHECKS, measurements
from edgeinspect.line.checks.control_checks import CONTROL_CHECKS
from edgeinspect.part import CameraControls
from edgeinspect.settings.recipe import Checks


def test_every_limit_is_a_key_of_the_recipe() -> None:
    assert [check.limit for check in CHECKS] == list(Checks.model_fields)[: len(CHECKS)]
    assert len({entry.name for entry in measurements()}) == len(measurements())


def test_every_control_of_the_camera_is_checked() -> None:
    assert tuple(check.control for check in CONTROL_CHECKS) == CameraControls.names()


def test_a_check_is_added_by_one_file_and_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.toy_check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["good", "contrast 0 is below 30"], done.stderr
