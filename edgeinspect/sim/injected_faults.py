"""The faults of the simulated line, each with a name and a realistic rate.

A fault strikes when a part is put on the belt, with its own probability per part. Its function
changes sensors, camera, engine, gate or station; everything that follows is physics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from edgeinspect.errors import UsageError
from edgeinspect.sim.agenda import Agenda
from edgeinspect.sim.devices import VirtualCamera, VirtualEngine
from edgeinspect.sim.presets import MS, SECOND, STOP_SIGNAL_DELAY_NS
from edgeinspect.sim.world import SimPart, World


class Disk(Protocol):
    """Where the station's records go.

    Attributes:
        refuse_until_ns: it takes nothing until then.
        wall_offset_ns: how far the station's wall clock is off.
    """

    refuse_until_ns: int
    wall_offset_ns: int


class FaultyLine(Protocol):
    """What a fault can strike of a simulated line; ``edgeinspect.sim.virtual`` has the line."""

    rng: Random
    agenda: Agenda
    world: World
    camera: VirtualCamera
    engine: VirtualEngine
    drop_next_event: bool

    @property
    def store(self) -> Disk:
        """The disk of the station."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that can be delayed."""

    def crash(self, now_ns: int) -> None:
        """End the station's process."""

    def hang(self, duration_ns: int, now_ns: int) -> None:
        """Let the line thread stand still for this time."""

    def delete_records(self, now_ns: int) -> None:
        """Delete or replace the records database."""

    def pause_for(self, duration_ns: int, now_ns: int) -> None:
        """Pause inspection for this time."""

    def change_recipe(self, now_ns: int) -> None:
        """Apply the other recipe."""

    def free_gate(self, now_ns: int) -> None:
        """Repair a stuck gate."""

    def delay(self, name: str, duration_ns: int, now_ns: int) -> None:
        """Deliver this input's events only after this time."""

    def mend_encoder(self, now_ns: int) -> None:
        """Repair a silent encoder."""


Strike = Callable[[FaultyLine, SimPart, int], None]
"""Strikes now; the part will reach the trigger sensor in about 100 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: on the command line and in the account.
        rate: how often it strikes, per part, by default.
        about: what happens, in one line for ``edgeinspect sim --list-faults``.
        strike: lets it happen.
    """

    name: str
    rate: float
    about: str
    strike: Strike
    needs_guard: bool = False
    needs_encoder: bool = False


FAULTS: dict[str, Fault] = {}
"""Every fault by its name."""


def _fault(
    rate: float, *, needs_guard: bool = False, needs_encoder: bool = False
) -> Callable[[Strike], Strike]:
    """Add a fault that is named and described by its function."""

    def add(strike: Strike) -> Strike:
        about = (strike.__doc__ or "").rstrip(".")
        FAULTS[strike.__name__] = Fault(
            name=strike.__name__,
            rate=rate,
            about=about[:1].lower() + about[1:],
            strike=strike,
            needs_guard=needs_guard,
            needs_encoder=needs_encoder,
        )
        return strike

    return add


def _camera_fault(name: str, rate: float, about: str) -> None:
    """Add a fault of the next requested frame; the camera knows it by name."""

    def strike(line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.camera.mishaps.append(name)

    FAULTS[name] = Fault(name=name, rate=rate, about=about, strike=strike)


def _engine_fault(name: str, rate: float, about: str) -> None:
    """Add a fault of the next inspection; the engine knows it by name."""

    def strike(line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.engine.mishaps.append(name)

    FAULTS[name] = Fault(name=name, rate=rate, about=about, strike=strike)


@_fault(5e-3)
def bounce(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The trigger contact bounces: one to three more edges within 6 ms."""
    edges = line.rng.randint(1, 3)
    part.bounces_ns += tuple(line.rng.randint(MS // 10, 6 * MS) for _ in range(edges))


@_fault(1e-3)
def double_trigger(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The trigger fires once more although no part passes, at any distance."""
    line.world.spurious_trigger_at(now_ns + line.rng.randint(0, 400 * MS))


@_fault(5e-4)
def missed_trigger(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The trigger sensor does not see a part."""
    part.trigger_sees = False


_camera_fault(
    "late_frame",
    1e-3,
    "a frame is delivered 0.15 to 1.2 s after its exposure, perhaps after later frames",
)
_camera_fault(
    "dropped_frame", 1e-3, "a frame never arrives; half the time the driver says so at the deadline"
)
_camera_fault(
    "repeated_frame", 1e-3, "the driver delivers the previous frame once more instead of a new one"
)
_camera_fault(
    "stale_frame",
    1e-3,
    "a buffered exposure of an earlier part is delivered, with its old timestamp",
)
_camera_fault(
    "frozen_frame",
    5e-4,
    "the previous picture is delivered again under a new timestamp and sequence number",
)
_camera_fault(
    "reshown_frame",
    1e-3,
    "a picture of any age is delivered again, under a new or its old stamp and number",
)
_camera_fault(
    "off_stamp",
    1e-3,
    "a frame's stamp is up to 14 ms off, and the driver says how far off it can be",
)
_camera_fault(
    "off_exposure",
    5e-4,
    "the camera reports an exposure time or gain that the recipe did not ask for",
)


@_fault(1e-4)
def camera_fault(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The camera fails every capture for 0.5 to 2 s."""
    line.camera.dead_until_ns = now_ns + line.rng.randint(SECOND // 2, 2 * SECOND)


_engine_fault("slow_inference", 1e-3, "one inference takes 0.2 to 1.5 s and holds the worker")
_engine_fault("failed_inference", 5e-4, "the engine raises an error")
_engine_fault("lost_inference", 2e-4, "the answer of an inference never comes")
_engine_fault("engine_duplicate", 5e-4, "an answer comes twice, the second time up to 2 s later")


@_fault(2e-5)
def stuck_gate_passing(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The gate jams and lets everything through until it is repaired."""
    line.world.stick_gate(True, now_ns)


@_fault(2e-5)
def stuck_gate_rejecting(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The gate jams and rejects everything for 2 to 10 s."""
    if line.world.gate_stuck is not None:
        return
    line.world.stick_gate(False, now_ns)
    repaired_ns = now_ns + line.rng.randint(2 * SECOND, 10 * SECOND)
    line.agenda.at(repaired_ns, line.free_gate)


@_fault(2e-4)
def confirm_missed(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The sensor in the reject chute would not see this part."""
    part.confirm_sees = False


@_fault(2e-4)
def confirm_spurious(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The sensor in the reject chute fires although nothing fell."""
    line.world.spurious_confirm_at(now_ns + line.rng.randint(0, SECOND))


@_fault(2e-4)
def clock_step(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The wall clock jumps by up to a day either way; nothing may change."""
    line.store.wall_offset_ns += line.rng.randint(-86_400 * SECOND, 86_400 * SECOND)


@_fault(5e-5)
def disk_full(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """Records cannot be written for 1 to 30 s."""
    line.store.refuse_until_ns = now_ns + line.rng.randint(SECOND, 30 * SECOND)


@_fault(5e-5)
def records_deleted(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The records database is deleted or replaced under the running station."""
    line.delete_records(now_ns)


@_fault(5e-5)
def crash_restart(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The station's process dies at a random moment and is back after 0.6 to 4 s."""
    line.agenda.at(now_ns + line.rng.randint(0, SECOND), line.crash)


@_fault(2e-4)
def core_hang(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The line thread stands still for 20 ms to 3 s while events queue up."""
    longest_ns = 3 * SECOND if line.rng.random() < 0.3 else SECOND // 3
    duration_ns = line.rng.randint(20 * MS, longest_ns)
    start_ns = now_ns + line.rng.randint(0, SECOND)
    line.agenda.at(start_ns, lambda t: line.hang(duration_ns, t))


@_fault(2e-4)
def queue_overflow(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """A full queue drops one inspection, or one event on its way to the core."""
    if line.rng.random() < 0.5:
        line.engine.mishaps.append("queue_overflow")
    else:
        line.drop_next_event = True


@_fault(2e-4, needs_guard=True)
def guard_missed(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The second sensor before the gate does not see a part."""
    part.guard_sees = False


@_fault(2e-4)
def belt_stop(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The line's control stops the belt for 0.5 to 10 s."""
    duration_ns = line.rng.randint(SECOND // 2, 10 * SECOND)
    start_ns = now_ns + line.rng.randint(0, SECOND)
    line.agenda.at(start_ns, lambda t: line.world.control.stop_for(duration_ns, t))


@_fault(1e-4)
def belt_stutter(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The belt stops and starts two to five times, before it has its speed again."""
    rng, control = line.rng, line.world.control
    at_ns = now_ns + rng.randint(0, SECOND)
    for _ in range(rng.randint(2, 5)):
        stands_ns = rng.randint(30 * MS, 400 * MS)
        line.agenda.at(at_ns, lambda t, ns=stands_ns: control.stop_for(ns, t))  # type: ignore[misc]
        at_ns += stands_ns + rng.randint(10 * MS, line.world.geometry.restart_ns)


@_fault(1e-4)
def late_stop_signal(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The belt stands within 2 ms, and its line-stopped contact says so up to 40 ms late."""
    rng, control = line.rng, line.world.control
    duration_ns = rng.randint(SECOND // 2, 5 * SECOND)
    late_ns = rng.randint(MS, STOP_SIGNAL_DELAY_NS)

    def stop(at_ns: int) -> None:
        control.stop_signal_late_ns = late_ns
        control.stop_for(duration_ns, at_ns, coast_ns=2 * MS)

    line.agenda.at(now_ns + rng.randint(0, SECOND), stop)


@_fault(1e-4)
def stop_bounce(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The belt stops, and its line-stopped contact bounces one to three times."""
    line.world.control.signal_bounces = line.rng.randint(1, 3)
    belt_stop(line, part, now_ns)


@_fault(1e-4)
def pause_resume(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """An operator pauses inspection for 0.2 to 5 s."""
    line.pause_for(line.rng.randint(SECOND // 5, 5 * SECOND), now_ns)


@_fault(2e-4)
def recipe_change(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """Another recipe with other thresholds is applied between two parts."""
    line.agenda.at(now_ns + line.rng.randint(0, 300 * MS), line.change_recipe)


@_fault(1e-3)
def late_input(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The events of one input reach the station 2 to 500 ms late, in a burst."""
    name = line.rng.choice(line.inputs)
    longest_ns = SECOND // 2 if line.rng.random() < 0.2 else 80 * MS
    duration_ns = line.rng.randint(2 * MS, longest_ns)
    start_ns = now_ns + line.rng.randint(0, SECOND)
    line.agenda.at(start_ns, lambda t: line.delay(name, duration_ns, t))


@_fault(2e-4, needs_encoder=True)
def encoder_glitch(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The encoder counts one to forty too many at once."""
    line.world.encoder_extra = line.rng.choice((1, 1, 2, 10, 40))


@_fault(5e-5, needs_encoder=True)
def encoder_stall(line: FaultyLine, part: SimPart, now_ns: int) -> None:
    """The encoder goes silent although the belt moves, until it is repaired."""
    line.world.encoder_stalled = True
    line.agenda.at(now_ns + line.rng.randint(2 * SECOND, 20 * SECOND), line.mend_encoder)


def fault_rates(
    faults: str | Iterable[str] | Mapping[str, float], *, guarded: bool, encoder: bool
) -> dict[str, float]:
    """Resolve the requested faults to rates per part, in the order of ``FAULTS``.

    Args:
        faults: "all", "none", names separated by commas, names, or rates by name, each in [0, 1].
        guarded: the guard sensor is wired; otherwise "all" leaves out its faults.
        encoder: an encoder is wired; otherwise "all" leaves out its faults.

    Raises:
        UsageError: a name is unknown, a rate is outside [0, 1], or a fault needs a sensor that is
            not wired.
    """
    if isinstance(faults, str):
        names = [name.strip() for name in faults.split(",") if name.strip()]
        if names == ["all"]:
            wanted = {n: f.rate for n, f in FAULTS.items() if _possible(f, guarded, encoder)}
        else:
            wanted = _default_rates([] if names == ["none"] else names)
    elif isinstance(faults, Mapping):
        wanted = dict(faults)
    else:
        wanted = _default_rates(faults)
    for name, rate in wanted.items():
        _check(name, rate, guarded, encoder)
    return {name: wanted[name] for name in FAULTS if name in wanted}


def _default_rates(names: Iterable[str]) -> dict[str, float]:
    return {name: FAULTS[name].rate if name in FAULTS else -1.0 for name in names}


def _check(name: str, rate: float, guarded: bool, encoder: bool) -> None:
    if name not in FAULTS:
        raise UsageError(
            f"Unknown fault {name!r}.",
            next_action=f"Use all, none, or some of: {', '.join(FAULTS)}.",
        )
    if not 0.0 <= rate <= 1.0:
        raise UsageError(f"The rate of {name} is {rate}; expected 0 to 1 per part.")
    if not _possible(FAULTS[name], guarded, encoder):
        sensor = "a guard sensor" if FAULTS[name].needs_guard else "an encoder"
        raise UsageError(f"{name} needs a line with {sensor}.")


def _possible(fault: Fault, guarded: bool, encoder: bool) -> bool:
    return (guarded or not fault.needs_guard) and (encoder or not fault.needs_encoder)
