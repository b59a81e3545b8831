"""A station's folder with a model, as the model commands find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeinspect.runtime.plan import plan_station
from edgeinspect.settings.station_file import load_station
from tests.helpers.bundle_samples import spot_bundle
from tests.helpers.json_command import json_of
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
        return json_of(self._capsys, "model", *arguments, "--config", self.file, expect=expect)

    def in_force(self) -> tuple[str, int]:
        plan = plan_station(load_station(self.file), store_first=False)
        return plan.bundle.card.version, plan.recipe.revision
