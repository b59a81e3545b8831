"""The same pictures through the whole station: trigger, frame, inspection, verdict, gate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import Bundle
from edgeinspect.bundle.inspector import Inspector
from edgeinspect.part import Frame, GateOutcome, Inspection, VerdictKind
from edgeinspect.runtime.inspection import FrameInspector
from edgeinspect.runtime.models import open_inspectors
from edgeinspect.runtime.plan import bundle_recipe, make_plan
from edgeinspect.runtime.replay import Replay
from edgeinspect.settings.station_file import EngineSettings, example_station
from edgeinspect_tools.quantize.draft_bundle import inspector_of
from edgeinspect_tools.quantize.gap import Advance, Labelled

_GATE = "normally-rejecting"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One entry per picture in each of the sequences; scores are () where there are none."""

    scores: tuple[tuple[float, ...], ...]
    verdicts: tuple[VerdictKind, ...]
    outcomes: tuple[GateOutcome, ...]
    identical: bool = True


def replay_pictures(
    bundle: Bundle, pictures: Sequence[Labelled], *, advance: Advance = lambda _: None
) -> Replayed:
    """Run ``edgeinspect replay``'s own code on the pictures, in their order.

    Raises:
        ModelRefused: the engine in use gives other golden outputs than the certificate allows.
    """
    station = example_station(_GATE, data_dir=Path("replay"))
    recipe = bundle_recipe(bundle, product=bundle.card.name)
    plan = make_plan(station, recipe, bundle, from_files=True)
    scores, verdicts, outcomes = [], [], []
    with _inspector(bundle) as inspector:
        shown: FrameInspector = inspector
        if bundle.card.input.reference:
            shown = _Comparing(inspector, {e.path.as_posix(): e for e in pictures}, bundle)
        run = Replay(
            config=plan.config,
            inspectors=[shown],
            files=[entry.path for entry in pictures],
            folder=Path("/nowhere"),
        )
        for result in run.results():
            found = result.record.inspection
            scores.append(found.scores if found is not None else ())
            verdicts.append(result.record.verdict.kind)
            outcomes.append(result.record.gate_outcome)
            advance(1)
    return Replayed(tuple(scores), tuple(verdicts), tuple(outcomes))


class _Comparing:
    """Gives each picture its own reference, as a data set of board pairs has them."""

    def __init__(
        self, inspector: Inspector, by_source: Mapping[str, Labelled], bundle: Bundle
    ) -> None:
        self._inspector = inspector
        self._by_source = by_source
        self._card = bundle.card

    def inspect(self, frame: Frame, *, want_map: bool = False) -> Inspection:
        reference: NDArray[np.uint8] | None = None
        entry = self._by_source.get(frame.meta.source)
        if entry is not None:
            reference = entry.reference_pixels(self._card)
        return self._inspector.inspect(frame, want_map=want_map, reference=reference)


@contextlib.contextmanager
def _inspector(bundle: Bundle) -> Iterator[Inspector]:
    if not bundle.golden:  # a draft; the finished bundle is checked when it is verified
        with inspector_of(bundle) as draft:
            yield draft
        return
    opened = open_inspectors(
        bundle, engine=EngineSettings(arrangement="threads", threads=1), roi=None
    )
    try:
        (inspector,) = opened.inspectors
        assert isinstance(inspector, Inspector)
        yield inspector
    finally:
        opened.close()
