"""The opened drivers of one station."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgeinspect.errors import error_words
from edgeinspect.ports import Camera, EdgeInput, EncoderInput, LevelInput, Output


class _Closes(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """The station's opened drivers; None where nothing is wired.

    Attributes:
        gate: the reject actuator's output.
        heartbeat: toggles while the station can be trusted; the line's controller watches it.
        line_stop: asks the line's controller to stop the belt.
        lights: outputs by their meaning: "green" inspecting, "yellow" paused or degraded, "red"
            faulted, "beacon" an alarm that nobody has acknowledged.
        strobe: the lamp that ``camera`` switches for each request.
    """

    camera: Camera
    trigger: EdgeInput
    gate: Output
    confirm: EdgeInput | None = None
    guard: EdgeInput | None = None
    line_stopped: LevelInput | None = None
    encoder: EncoderInput | None = None
    heartbeat: Output | None = None
    line_stop: Output | None = None
    lights: Mapping[str, Output] = field(default_factory=dict)
    strobe: Output | None = None

    def inputs(self) -> Mapping[str, EdgeInput | LevelInput | EncoderInput]:
        """The wired inputs by their names here."""
        wired = {
            "trigger": self.trigger,
            "guard": self.guard,
            "confirm": self.confirm,
            "line_stopped": self.line_stopped,
            "encoder": self.encoder,
        }
        return {name: line for name, line in wired.items() if line is not None}

    def close_inputs(self) -> list[str]:
        """Close every input; return one sentence for each that failed."""
        return _close_each(tuple(self.inputs().values()))

    def close_outputs(self) -> list[str]:
        """Every output but the gate goes to its safe level; the gate's belongs to its thread."""
        return _close_each((self.strobe, self.heartbeat, *self.lights.values(), self.line_stop))


def _close_each(lines: Sequence[_Closes | None]) -> list[str]:
    failed = []
    for line in lines:
        try:
            if line is not None:
                line.close()
        except Exception as error:  # noqa: BLE001  the others must still be closed
            failed.append(error_words(error))
    return failed
