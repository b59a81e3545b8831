"""From a verified bundle to inspectors on a checked engine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

from edgeinspect.bundle.card import ReducerCard, ReducerKind
from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.golden import check_golden
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.faults import FaultName
from edgeinspect.hw.registry import Workload, engine_module
from edgeinspect.part import Region
from edgeinspect.ports import StationEngine
from edgeinspect.runtime.inspection import InspectorSet
from edgeinspect.settings.recipe import Reducer
from edgeinspect.settings.station_file import EngineSettings

_USUAL_TILES = 4


def open_inspectors(
    bundle: Bundle,
    *,
    engine: EngineSettings,
    roi: Region | None,
    reducer: Reducer | None = None,
    count: int = 1,
    recipe_digest: str = "",
    cycle_ns: int | None = None,
) -> InspectorSet:
    """Open ``count`` engines, check the golden pictures on the first, and put inspectors on them.

    Args:
        bundle: the bundle with the model.
        engine: of the station file; its threads are those of each engine.
        roi: in frame pixels; None: the whole frame.
        reducer: of the recipe, instead of the card's.
        count: the number of inspectors.
        recipe_digest: under which the inspectors are known.
        cycle_ns: from one part to the next at the least; None: not known. The CPU must keep up
            with it to stand in for an accelerator.

    Raises:
        ModelRefused: the model fails, or gives other results than it was certified for.
        DriverMissing: the inference library or the delegate is not installed.
    """
    card_reducer = None
    if reducer is not None:
        card_reducer = ReducerCard(kind=ReducerKind(reducer.kind), k=reducer.k)
    with contextlib.ExitStack() as opened:
        module = engine_module(engine.delegate)
        work = Workload(tiles=_tiles(bundle, roi), cycle_ns=cycle_ns)
        engines: list[StationEngine] = []
        for _ in range(count):
            engines.append(module.open_station_engine(bundle, engine, work))
            opened.callback(engines[-1].close)
        check_golden(bundle, engines[0])
        inspectors = tuple(Inspector(bundle, each, roi, reducer=card_reducer) for each in engines)
        several = f" ({count} at once)" if count > 1 else ""
        return InspectorSet(
            recipe_digest=recipe_digest,
            inspectors=inspectors,
            description=engines[0].description + several,
            close=opened.pop_all().close,
            trouble=partial(_trouble, tuple(engines)),
        )


def _trouble(engines: Sequence[StationEngine]) -> dict[FaultName, str]:
    found: dict[FaultName, str] = {}
    for engine in engines:
        found |= engine.trouble()
    return found


def _tiles(bundle: Bundle, roi: Region | None) -> int:
    """Tiles of one part; a guess where the frame's size is not known yet."""
    if roi is None:
        return _USUAL_TILES
    return Pipeline(bundle.card, width=roi.width, height=roi.height).tile_count
