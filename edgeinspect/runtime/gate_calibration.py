"""How long a part travels from the trigger to the gate, found by trying: pulse, and see it fall.

Parts come one at a time. Each gets one pulse of the same length at a chosen time after its
trigger; the confirm sensor says whether it was rejected. The pulses that reject begin within a
range, whose middle, plus half a pulse, is the moment at which the part stands before the gate.
That holds for a flap, which must be out for the whole part, as for a nozzle, which must only hit
it. How long after the trigger the confirm sensor answers, part by part, shows the spread.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from edgeinspect.errors import NotGood

LEAST_RESOLUTION_MS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One part.

    Attributes:
        start_ms: when its pulse began, after its trigger.
        caught: the pulse decided the part's way: a reject pulse rejected it, the opening of a
            normally rejecting gate let it through.
        confirm_ms: when the confirm sensor saw it, after its trigger; None: it did not.
    """

    start_ms: float
    caught: bool
    confirm_ms: float | None


class GateSearch:
    """Chooses the start to try next; the module describes the method."""

    def __init__(self, *, first_start_ms: float, pulse_ms: float, resolution_ms: float) -> None:
        """Start a search.

        Args:
            first_start_ms: a start that is expected to catch the part.
            pulse_ms: length of every pulse.
            resolution_ms: how precisely the ends of the range are searched.
        """
        self._first_ms = first_start_ms
        self._reach_ms = 2 * pulse_ms
        self._resolution_ms = max(resolution_ms, LEAST_RESOLUTION_MS)
        self._plan = self._search()
        self.earliest_ms = self.latest_ms = first_start_ms
        self._next_ms: float | None = next(self._plan)

    @property
    def next_start_ms(self) -> float | None:
        """What to try next; None: the range is known."""
        return self._next_ms

    def note(self, caught: bool) -> None:
        """How the trial went. Raises NotGood: the range cannot be found from this start."""
        try:
            self._next_ms = self._plan.send(caught)
        except StopIteration:
            self._next_ms = None

    def _search(self) -> Generator[float, bool, None]:
        """Yields a start, is sent whether it caught the part."""
        caught = yield self._first_ms
        if not caught:
            raise NotGood(
                f"A pulse that began {self._first_ms:.1f} ms after the trigger did not move the "
                "part, so calibration cannot start.",
                next_action="Watch where the part is when the gate moves. Give a better start "
                "with --start-ms or a longer pulse with --pulse-ms, and check the confirm sensor.",
            )
        for towards in (1.0, -1.0):
            inside, outside = self._first_ms, self._first_ms + towards * self._reach_ms
            outside = max(0.0, outside)
            caught = yield outside
            if caught:
                raise NotGood(
                    f"A pulse that began {outside:.1f} ms after the trigger moved the part too, "
                    "so the part did not move because of the pulse.",
                    next_action="Check the confirm sensor, and that parts come one at a time.",
                )
            while abs(outside - inside) > self._resolution_ms:
                middle = (inside + outside) / 2
                caught = yield middle
                inside, outside = (middle, outside) if caught else (inside, middle)
            if towards > 0:
                self.latest_ms = inside
            else:
                self.earliest_ms = inside


@dataclass(frozen=True, slots=True, kw_only=True)
class GateProposal:
    """The proposed values for the station file, in milliseconds, and their evidence.

    Attributes:
        travel_ms: ``track.sensor_to_gate_ms``.
        window_before_ms: ``track.window_before_ms``.
        window_after_ms: ``track.window_after_ms``.
        confirm_earliest_ms: ``confirm.earliest_ms``.
        confirm_latest_ms: ``confirm.latest_ms``.
        resolution_ms: the travel time is known to half of this either way.
        spread_ms: difference between the smallest and the largest confirm delay.
        parts: number of parts tried.
    """

    travel_ms: float
    window_before_ms: float
    window_after_ms: float
    confirm_earliest_ms: float
    confirm_latest_ms: float
    resolution_ms: float
    spread_ms: float
    parts: int


@dataclass(slots=True)
class GateCalibration:
    """Search and trials together.

    Attributes:
        tolerance_ms: room to leave at either end of the window (``gate.timing_tolerance_ms``).
    """

    search: GateSearch
    pulse_ms: float
    resolution_ms: float
    tolerance_ms: float
    trials: list[Trial] = field(default_factory=list)

    def note(self, trial: Trial) -> None:
        """Take the result of one part into account."""
        self.trials.append(trial)
        self.search.note(trial.caught)

    def proposal(self) -> GateProposal:
        """Return the proposed values. Raises NotGood if no part was ever confirmed."""
        earliest_ms, latest_ms = self.search.earliest_ms, self.search.latest_ms
        travel_ms = (earliest_ms + latest_ms + self.pulse_ms) / 2
        delays_ms = confirm_delays_ms(self.trials)
        spread_ms = delays_ms[-1] - delays_ms[0]
        # A flap catches within (pulse - part), a nozzle within (pulse + part): either way the
        # difference to the pulse is what the part itself takes.
        part_ms = abs(self.pulse_ms - (latest_ms - earliest_ms))
        half_ms = part_ms / 2 + spread_ms + self.resolution_ms + self.tolerance_ms
        room_ms = spread_ms + self.tolerance_ms
        return GateProposal(
            travel_ms=travel_ms,
            window_before_ms=half_ms,
            window_after_ms=half_ms,
            confirm_earliest_ms=delays_ms[0] - (travel_ms - half_ms) - room_ms,
            confirm_latest_ms=delays_ms[-1] - (travel_ms + half_ms) + room_ms,
            resolution_ms=self.resolution_ms,
            spread_ms=spread_ms,
            parts=len(self.trials),
        )


def confirm_delays_ms(trials: Sequence[Trial]) -> list[float]:
    """Of the parts that were seen in the chute, sorted. Raises NotGood if there is none."""
    delays = sorted(trial.confirm_ms for trial in trials if trial.confirm_ms is not None)
    if not delays:
        raise NotGood(
            "The confirm sensor did not see any part.",
            next_action="Check it with: edgeinspect io watch confirm",
        )
    return delays
