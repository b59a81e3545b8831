"""A station's folder with a model, as the model commands find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeinspect.cli.application import run_command_line
from edgeinspect.cli.main import application
from edgeinspect.runtime.plan import plan_station
from edgeinspect.settings.station_file import load_station
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.setup_card import STATION


class Station:
    """A folder with a station file and the command line on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.file = folder / "station.yaml"
        self.file.write_text(STATION)
        self._capsys = capsys

    def bundle(self, version: str, **options: Any) -> Path:
        place = self.folder / f"v{version}"
        place.mkdir(exist_ok=True)
        return spot_bundle(place, version=version, **options).directory

    def model(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        command = ("model", *arguments, "--config", str(self.file), "--json")
        code = run_command_line(application, program="edgeinspect", arguments=command)
        printed = self._capsys.readouterr()
        assert code == expect, printed.err
        answer: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
        return answer

    def in_force(self) -> tuple[str, int]:
        plan = plan_station(load_station(self.file), store_first=False)
        return plan.bundle.card.version, plan.recipe.revision
