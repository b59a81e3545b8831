"""The station's engine on the CPU, as ``engine.delegate: none`` asks for it."""

from __future__ import annotations

from edgeinspect.bundle.directory import Bundle
from edgeinspect.hw.litert import LiteRtEngine, open_engine
from edgeinspect.hw.registry import Workload
from edgeinspect.settings.station_file import EngineSettings


def open_station_engine(bundle: Bundle, settings: EngineSettings, work: Workload) -> LiteRtEngine:
    """See ``edgeinspect.hw.registry.EngineModule``."""
    return open_engine(
        bundle,
        runtime=settings.runtime,
        arrangement=settings.arrangement,
        threads=settings.threads,
        tiles_at_once=work.tiles,
    )
