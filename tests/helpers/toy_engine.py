"""An engine of our own: what a file in ``edgeinspect/hw`` must offer, and no more."""

from __future__ import annotations

from edgeinspect.bundle.directory import Bundle
from edgeinspect.hw.litert import Kernels, LiteRtEngine, open_engine
from edgeinspect.hw.registry import Workload
from edgeinspect.settings.station_file import EngineSettings


def open_station_engine(bundle: Bundle, settings: EngineSettings, work: Workload) -> LiteRtEngine:
    """See ``edgeinspect.hw.registry.EngineModule``."""
    assert settings.delegate == "toy" and work.tiles
    return open_engine(bundle, kernels=Kernels.REFERENCE)
