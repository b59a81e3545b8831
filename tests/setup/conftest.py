"""What the tests of the first start share."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeinspect.setup.found import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("boot", "data"):
        (tmp_path / name).mkdir()
    return Places(boot=tmp_path / "boot", data=tmp_path / "data")
