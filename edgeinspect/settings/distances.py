"""Where things are along the belt, in milliseconds of travel or in encoder counts.

Rules and the core read either of them through ``Distances``, which has no unit in its names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from edgeinspect.files.yaml_expected import Rule
from edgeinspect.settings.base import (
    Counts,
    Milliseconds,
    PositiveCounts,
    PositiveMilliseconds,
    Section,
)


class DelayTrack(Section):
    """The belt's speed is fixed: a distance is the time that a part needs for it.

    All distances start at the trigger sensor. See ``edgeinspect.line.config.TrackConfig``.

    Attributes:
        restart_ms: the belt has its speed this long after ``lines.line_stopped`` goes off. None:
            nobody has measured it.
        stop_signal_delay_ms: the belt may already have slowed for this long when
            ``lines.line_stopped`` comes on. None: nobody has looked.
    """

    tracking: Literal["delay"]
    min_pitch_ms: PositiveMilliseconds
    sensor_to_lens_ms: Milliseconds
    exposure_window_ms: PositiveMilliseconds
    sensor_to_gate_ms: PositiveMilliseconds
    window_before_ms: PositiveMilliseconds
    window_after_ms: PositiveMilliseconds
    sensor_to_guard_ms: PositiveMilliseconds | None = None
    guard_tolerance_ms: PositiveMilliseconds | None = None
    restart_ms: Milliseconds | None = None
    stop_signal_delay_ms: Milliseconds | None = None


class EncoderTrack(Section):
    """The belt's speed may change: a distance is what the encoder counts on the way."""

    tracking: Literal["encoder"]
    min_pitch_counts: PositiveCounts
    sensor_to_lens_counts: Counts
    exposure_window_counts: PositiveCounts
    sensor_to_gate_counts: PositiveCounts
    window_before_counts: PositiveCounts
    window_after_counts: PositiveCounts
    sensor_to_guard_counts: PositiveCounts | None = None
    guard_tolerance_counts: PositiveCounts | None = None


Track: TypeAlias = Annotated[DelayTrack | EncoderTrack, Field(discriminator="tracking")]

DISTANCES = (
    "min_pitch",
    "sensor_to_lens",
    "exposure_window",
    "sensor_to_gate",
    "window_before",
    "window_after",
    "sensor_to_guard",
    "guard_tolerance",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """A track without its unit: milliseconds or counts, see ``unit``.

    Attributes:
        at_speed: for counts that were made milliseconds, the speed at which they take this time.
        stop_signal_delay: how late a part may be at the gate of a belt of fixed speed that slows
            down, before the station can know.
    """

    unit: Literal["ms", "counts"]
    min_pitch: float
    sensor_to_lens: float
    exposure_window: float
    sensor_to_gate: float
    window_before: float
    window_after: float
    sensor_to_guard: float | None
    guard_tolerance: float | None
    at_speed: str = ""
    stop_signal_delay: float = 0.0

    @property
    def window(self) -> float:
        """Length of a part's window at the gate."""
        return self.window_before + self.window_after_in_all

    @property
    def window_after_in_all(self) -> float:
        """Distance from the middle of the gate to the end of the window, including delays."""
        return self.window_after + self.stop_signal_delay

    @property
    def gate_opens(self) -> float:
        """Where a part's window at the gate begins."""
        return self.sensor_to_gate - self.window_before

    def at_counts_per_s(self, counts_per_s: int) -> Distances:
        """A track in counts as milliseconds of travel at this speed."""
        ms = {name: getattr(self, name) for name in DISTANCES}
        ms = {name: d if d is None else 1000 * d / counts_per_s for name, d in ms.items()}
        return Distances(unit="ms", **ms, at_speed=" at encoder.max_counts_per_s")

    def rule(self, name: str, expected: str) -> Rule:
        """The error for one of the distances, under its name in the file."""
        key = f"{name}_{self.unit}"
        return Rule("track", key, value=getattr(self, name), expected=expected)


def distances_of(track: DelayTrack | EncoderTrack) -> Distances:
    """Return the station's distances in the unit of its track."""
    unit: Literal["ms", "counts"] = "ms" if isinstance(track, DelayTrack) else "counts"
    delay = track.stop_signal_delay_ms if isinstance(track, DelayTrack) else None
    return Distances(
        unit=unit,
        stop_signal_delay=delay or 0.0,
        **{name: getattr(track, f"{name}_{unit}") for name in DISTANCES},
    )


def check_distances(d: Distances) -> None:
    """What must hold along any belt. Raises Rule."""
    if d.exposure_window >= d.min_pitch:
        raise d.rule(
            "exposure_window",
            f"less than track.min_pitch_{d.unit} ({d.min_pitch:g}), otherwise a frame could show "
            "the neighbouring part",
        )
    if d.window > d.min_pitch:
        delay = " + stop_signal_delay_ms" if d.stop_signal_delay else ""
        raise d.rule(
            "window_before",
            f"window_before_{d.unit} + window_after_{d.unit}{delay} of at most"
            f" track.min_pitch_{d.unit} ({d.min_pitch:g}), otherwise the gate would also reject "
            "the neighbouring part",
        )
    if d.gate_opens <= d.sensor_to_lens + d.exposure_window:
        raise d.rule(
            "sensor_to_gate",
            f"the window at the gate to start (sensor_to_gate_{d.unit} - window_before_{d.unit} ="
            f" {d.gate_opens:g}) after the part has left the lens (sensor_to_lens_{d.unit} +"
            f" exposure_window_{d.unit} = {d.sensor_to_lens + d.exposure_window:g})",
        )
    _check_guard(d)


def check_stop_signal(track: DelayTrack, *, debounce_ms: float) -> None:
    """The signal that the belt stops comes in time. Raises Rule.

    Args:
        track: of the station.
        debounce_ms: by how much the kernel delays the input.
    """
    delay_ms = track.stop_signal_delay_ms
    if delay_ms is None:
        return
    key = ("track", "stop_signal_delay_ms")
    if delay_ms < debounce_ms:
        expected = f"at least what lines.line_stopped.debounce_us adds to it ({debounce_ms:g})"
        raise Rule(*key, value=delay_ms, expected=expected)
    d = distances_of(track)
    left = d.gate_opens - d.sensor_to_lens - d.exposure_window
    if delay_ms >= left:
        raise Rule(
            *key,
            value=delay_ms,
            expected=f"less than the travel from the lens to the gate ({left:g}), otherwise a "
            "part photographed on a slowing belt could reach the gate first",
        )


def _check_guard(d: Distances) -> None:
    if d.sensor_to_guard is None or d.guard_tolerance is None:
        for name in ("sensor_to_guard", "guard_tolerance"):
            other = "guard_tolerance" if name == "sensor_to_guard" else "sensor_to_guard"
            if getattr(d, name) is None and getattr(d, other) is not None:
                raise d.rule(name, f"a number, because track.{other}_{d.unit} is given")
        return
    if not d.sensor_to_lens < d.sensor_to_guard - d.guard_tolerance:
        raise d.rule(
            "sensor_to_guard",
            f"the guard sensor with its tolerance to be after the lens ({d.sensor_to_lens:g})",
        )
    if not d.sensor_to_guard + d.guard_tolerance < d.gate_opens:
        raise d.rule(
            "sensor_to_guard",
            "the guard sensor with its tolerance to be before the start of the window at the gate"
            f" ({d.gate_opens:g})",
        )
    if 2 * d.guard_tolerance > d.min_pitch:
        raise d.rule(
            "guard_tolerance",
            f"at most half of track.min_pitch_{d.unit} ({d.min_pitch / 2:g}), otherwise a part "
            "could be mistaken for its neighbour",
        )
