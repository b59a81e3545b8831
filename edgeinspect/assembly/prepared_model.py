"""The plan's model, loaded and checked on the engine in use, as the running station takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgeinspect.line.config import LineConfig, Tracking
from edgeinspect.part import Frame, Inspection
from edgeinspect.runtime.inspection import FrameInspector
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.recipe_swap import PreparedRecipe

Watcher = Callable[[Frame, Inspection], None]
"""Called in an inspection thread with every frame and its inspection."""


class _WatchedInspector:
    """An inspector that passes each result to a watcher."""

    def __init__(self, inspector: FrameInspector, watch: Watcher) -> None:
        self._inspector = inspector
        self._watch = watch

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        inspection = self._inspector.inspect(frame, want_map=want_map)
        self._watch(frame, inspection)
        return inspection


def prepare_model(plan: StationPlan, *, watch: Watcher | None = None) -> PreparedRecipe:
    """Load the plan's model and check it on the engine in use. Raises ModelRefused."""
    inspectors = open_inspectors(
        plan.bundle,
        engine=plan.station.engine,
        roi=plan.roi,
        reducer=plan.recipe.reducer,
        recipe_digest=plan.digest,
        cycle_ns=_cycle_ns(plan.config),
    )
    if watch is not None:
        watched = tuple(_WatchedInspector(each, watch) for each in inspectors.inspectors)
        inspectors = replace(inspectors, inspectors=watched)
    return PreparedRecipe(config=plan.config, inspectors=inspectors, controls=plan.controls)


def _cycle_ns(config: LineConfig) -> int | None:
    """Return the least time between two parts; with an encoder it depends on the belt's speed."""
    by_time = config.track.tracking is Tracking.DELAY
    return config.trigger.min_pitch if by_time else None
