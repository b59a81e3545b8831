"""From a verified bundle to inspectors on a checked engine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import numpy as np

from edgeinspect.bundle.card import ReducerCard, ReducerKind
from edgeinspect.bundle.directory import EDGETPU_MODEL_FILE, Bundle
from edgeinspect.bundle.golden import check_golden
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.errors import HardwareError, ModelRefused
from edgeinspect.faults import FaultName
from edgeinspect.hw.arrangement import BUDGET_NS, median_run_ns
from edgeinspect.hw.edgetpu import EdgeTpuEngine, is_compiled
from edgeinspect.hw.litert import LiteRtEngine, open_engine
from edgeinspect.part import Region
from edgeinspect.runtime.inspection import InspectorSet
from edgeinspect.settings.recipe import Reducer
from edgeinspect.settings.station_file import EngineSettings
from edgeinspect.undo import undo_on_error

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
        engine: of the station file; its threads are those of each engine.
        roi: in frame pixels; None: the whole frame.
        reducer: of the recipe, instead of the card's.
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
        engines: list[LiteRtEngine | EdgeTpuEngine] = []
        for _ in range(count):
            if engine.delegate == "edgetpu":
                engines.append(_open_edgetpu(bundle, engine, roi, cycle_ns))
            else:
                engines.append(_open_cpu(bundle, engine, roi))
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


def _trouble(engines: Sequence[LiteRtEngine | EdgeTpuEngine]) -> dict[FaultName, str]:
    found: dict[FaultName, str] = {}
    for engine in engines:
        if isinstance(engine, EdgeTpuEngine):
            found |= engine.trouble()
    return found


def _open_cpu(bundle: Bundle, engine: EngineSettings, roi: Region | None) -> LiteRtEngine:
    return open_engine(
        bundle,
        runtime=engine.runtime,
        arrangement=engine.arrangement,
        threads=engine.threads,
        tiles_at_once=_tiles(bundle, roi),
    )


def _open_edgetpu(
    bundle: Bundle, engine: EngineSettings, roi: Region | None, cycle_ns: int | None
) -> EdgeTpuEngine:
    """Open the accelerator and its fallback. Raises HardwareError, ModelRefused."""
    trouble: dict[FaultName, str] = {}
    fallback = None
    if engine.when_lost == "cpu":
        fallback = _cpu_fallback(bundle, engine, roi, cycle_ns, trouble)
    accelerator = None
    with contextlib.ExitStack() as opened:
        if fallback is not None:
            opened.callback(fallback.close)
        try:
            accelerator = open_engine(
                bundle, runtime=engine.runtime, delegate="edgetpu", device=engine.device
            )
        except HardwareError as error:
            if fallback is None:
                raise
            trouble[FaultName.EDGETPU_LOST] = f"{error.message} Inspecting on the CPU"
        opened.pop_all()
    return EdgeTpuEngine(
        accelerator,
        fallback=fallback,
        deadline_ns=round(engine.deadline_ms * 1e6),
        trouble=trouble,
    )


def _cpu_fallback(
    bundle: Bundle,
    engine: EngineSettings,
    roi: Region | None,
    cycle_ns: int | None,
    trouble: dict[FaultName, str],
) -> LiteRtEngine | None:
    """A checked engine on the CPU; None, with the reason in ``trouble``, if it cannot keep up."""
    if is_compiled(bundle.model):
        raise ModelRefused(
            f"The bundle {bundle.card.name} holds no model for the CPU, which engine.when_lost: "
            "cpu needs.",
            next_action=f"Put the compiled model beside it as {EDGETPU_MODEL_FILE}, or set "
            "engine.when_lost: reject.",
        )
    cpu = _open_cpu(bundle, engine, roi)
    with undo_on_error(cpu.close):
        check_golden(bundle, cpu)
        tile = np.zeros(cpu.input_spec.shape[1:], cpu.input_spec.dtype)
        took_ns = median_run_ns(cpu.run, [tile] * _tiles(bundle, roi), budget_ns=BUDGET_NS)
    if cycle_ns is not None and took_ns <= cycle_ns:
        return cpu
    cpu.close()
    limit = "is not known" if cycle_ns is None else f"is {cycle_ns / 1e6:.1f} ms"
    trouble[FaultName.EDGETPU_WITHOUT_CPU_FALLBACK] = (
        f"the CPU takes {took_ns / 1e6:.1f} ms a part and the time between two parts {limit}, so "
        "every part is rejected while the Edge TPU is away"
    )
    return None


def _tiles(bundle: Bundle, roi: Region | None) -> int:
    """Tiles of one part; a guess where the frame's size is not known yet."""
    if roi is None:
        return _USUAL_TILES
    return Pipeline(bundle.card, width=roi.width, height=roi.height).tile_count
