"""The faults of the simulated line, each with a name and a realistic rate.

A fault strikes when a part is put on the belt, with its own probability per part. Its ``strike``
changes sensors, camera, engine, gate or station; everything that follows is physics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import ClassVar, Protocol

from typing_extensions import override

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
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that can be delayed."""
        ...

    def crash(self, now_ns: int) -> None:
        """End the station's process."""
        ...

    def hang(self, duration_ns: int, now_ns: int) -> None:
        """Let the line thread stand still for this time."""
        ...

    def delete_records(self, now_ns: int) -> None:
        """Delete or replace the records database."""
        ...

    def pause_for(self, duration_ns: int, now_ns: int) -> None:
        """Pause inspection for this time."""
        ...

    def change_recipe(self, now_ns: int) -> None:
        """Apply the other recipe."""
        ...

    def free_gate(self, now_ns: int) -> None:
        """Repair a stuck gate."""
        ...

    def delay(self, name: str, duration_ns: int, now_ns: int) -> None:
        """Deliver this input's events only after this time."""
        ...

    def mend_encoder(self, now_ns: int) -> None:
        """Repair a silent encoder."""
        ...


class Fault:
    """One kind of fault.

    Attributes:
        name: on the command line and in the account.
        rate: how often it strikes, per part, by default.
    """

    name: ClassVar[str]
    rate: ClassVar[float]
    needs_guard: ClassVar[bool] = False
    needs_encoder: ClassVar[bool] = False

    @property
    def about(self) -> str:
        """What happens, in one line for ``edgeinspect sim --list-faults``: the class docstring."""
        words = (type(self).__doc__ or "").rstrip(".")
        return words[:1].lower() + words[1:]

    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        """Strike now; ``part`` will reach the trigger sensor in about 100 ms."""
        raise NotImplementedError


class _CameraFault(Fault):
    """Strikes the next requested frame."""

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.camera.mishaps.append(self.name)


class _EngineFault(Fault):
    """Strikes the next inspection."""

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.engine.mishaps.append(self.name)


class Bounce(Fault):
    """The trigger contact bounces: one to three more edges within 6 ms."""

    name = "bounce"
    rate = 5e-3

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        edges = line.rng.randint(1, 3)
        part.bounces_ns += tuple(line.rng.randint(MS // 10, 6 * MS) for _ in range(edges))


class DoubleTrigger(Fault):
    """The trigger fires once more although no part passes, at any distance."""

    name = "double_trigger"
    rate = 1e-3

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.spurious_trigger_at(now_ns + line.rng.randint(0, 400 * MS))


class MissedTrigger(Fault):
    """The trigger sensor does not see a part."""

    name = "missed_trigger"
    rate = 5e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        part.trigger_sees = False


class LateFrame(_CameraFault):
    """A frame is delivered 0.15 to 1.2 s after its exposure, perhaps after later frames."""

    name = "late_frame"
    rate = 1e-3


class DroppedFrame(_CameraFault):
    """A frame never arrives; half the time the driver says so at the deadline."""

    name = "dropped_frame"
    rate = 1e-3


class RepeatedFrame(_CameraFault):
    """The driver delivers the previous frame once more instead of a new one."""

    name = "repeated_frame"
    rate = 1e-3


class StaleFrame(_CameraFault):
    """A buffered exposure of an earlier part is delivered, with its old timestamp."""

    name = "stale_frame"
    rate = 1e-3


class FrozenFrame(_CameraFault):
    """The previous picture is delivered again under a new timestamp and sequence number."""

    name = "frozen_frame"
    rate = 5e-4


class ReshownFrame(_CameraFault):
    """A picture of any age is delivered again, under a new or its old stamp and number."""

    name = "reshown_frame"
    rate = 1e-3


class OffStamp(_CameraFault):
    """A frame's stamp is up to 14 ms off, and the driver says how far off it can be."""

    name = "off_stamp"
    rate = 1e-3


class OffExposure(_CameraFault):
    """The camera reports an exposure time or gain that the recipe did not ask for."""

    name = "off_exposure"
    rate = 5e-4


class DeadCamera(Fault):
    """The camera fails every capture for 0.5 to 2 s."""

    name = "camera_fault"
    rate = 1e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.camera.dead_until_ns = now_ns + line.rng.randint(SECOND // 2, 2 * SECOND)


class SlowInference(_EngineFault):
    """One inference takes 0.2 to 1.5 s and holds the worker."""

    name = "slow_inference"
    rate = 1e-3


class FailedInference(_EngineFault):
    """The engine raises an error."""

    name = "failed_inference"
    rate = 5e-4


class LostInference(_EngineFault):
    """The answer of an inference never comes."""

    name = "lost_inference"
    rate = 2e-4


class EngineDuplicate(_EngineFault):
    """An answer comes twice, the second time up to 2 s later."""

    name = "engine_duplicate"
    rate = 5e-4


class StuckGatePassing(Fault):
    """The gate jams and lets everything through until it is repaired."""

    name = "stuck_gate_passing"
    rate = 2e-5

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.stick_gate(True, now_ns)


class StuckGateRejecting(Fault):
    """The gate jams and rejects everything for 2 to 10 s."""

    name = "stuck_gate_rejecting"
    rate = 2e-5

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        if line.world.gate_stuck is not None:
            return
        line.world.stick_gate(False, now_ns)
        repaired_ns = now_ns + line.rng.randint(2 * SECOND, 10 * SECOND)
        line.agenda.at(repaired_ns, line.free_gate)


class ConfirmMissed(Fault):
    """The sensor in the reject chute would not see this part."""

    name = "confirm_missed"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        part.confirm_sees = False


class ConfirmSpurious(Fault):
    """The sensor in the reject chute fires although nothing fell."""

    name = "confirm_spurious"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.spurious_confirm_at(now_ns + line.rng.randint(0, SECOND))


class ClockStep(Fault):
    """The wall clock jumps by up to a day either way; nothing may change."""

    name = "clock_step"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.store.wall_offset_ns += line.rng.randint(-86_400 * SECOND, 86_400 * SECOND)


class FullDisk(Fault):
    """Records cannot be written for 1 to 30 s."""

    name = "disk_full"
    rate = 5e-5

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.store.refuse_until_ns = now_ns + line.rng.randint(SECOND, 30 * SECOND)


class RecordsDeleted(Fault):
    """The records database is deleted or replaced under the running station."""

    name = "records_deleted"
    rate = 5e-5

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.delete_records(now_ns)


class CrashRestart(Fault):
    """The station's process dies at a random moment and is back after 0.6 to 4 s."""

    name = "crash_restart"
    rate = 5e-5

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.agenda.at(now_ns + line.rng.randint(0, SECOND), line.crash)


class CoreHang(Fault):
    """The line thread stands still for 20 ms to 3 s while events queue up."""

    name = "core_hang"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        longest_ns = 3 * SECOND if line.rng.random() < 0.3 else SECOND // 3
        duration_ns = line.rng.randint(20 * MS, longest_ns)
        start_ns = now_ns + line.rng.randint(0, SECOND)
        line.agenda.at(start_ns, lambda t: line.hang(duration_ns, t))


class Overflow(Fault):
    """A full queue drops one inspection, or one event on its way to the core."""

    name = "queue_overflow"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        if line.rng.random() < 0.5:
            line.engine.mishaps.append(self.name)
        else:
            line.drop_next_event = True


class GuardMissed(Fault):
    """The second sensor before the gate does not see a part."""

    name = "guard_missed"
    rate = 2e-4
    needs_guard = True

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        part.guard_sees = False


class BeltStop(Fault):
    """The line's control stops the belt for 0.5 to 10 s."""

    name = "belt_stop"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        duration_ns = line.rng.randint(SECOND // 2, 10 * SECOND)
        start_ns = now_ns + line.rng.randint(0, SECOND)
        line.agenda.at(start_ns, lambda t: line.world.control.stop_for(duration_ns, t))


BELT_STOP = BeltStop()


class BeltStutter(Fault):
    """The belt stops and starts two to five times, before it has its speed again."""

    name = "belt_stutter"
    rate = 1e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        rng, control = line.rng, line.world.control
        at_ns = now_ns + rng.randint(0, SECOND)
        for _ in range(rng.randint(2, 5)):
            stands_ns = rng.randint(30 * MS, 400 * MS)
            line.agenda.at(at_ns, lambda t, ns=stands_ns: control.stop_for(ns, t))  # type: ignore[misc]
            at_ns += stands_ns + rng.randint(10 * MS, line.world.geometry.restart_ns)


class LateStopSignal(Fault):
    """The belt stands within 2 ms, and its line-stopped contact says so up to 40 ms late."""

    name = "late_stop_signal"
    rate = 1e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        rng, control = line.rng, line.world.control
        duration_ns = rng.randint(SECOND // 2, 5 * SECOND)
        late_ns = rng.randint(MS, STOP_SIGNAL_DELAY_NS)

        def stop(at_ns: int) -> None:
            control.stop_signal_late_ns = late_ns
            control.stop_for(duration_ns, at_ns, coast_ns=2 * MS)

        line.agenda.at(now_ns + rng.randint(0, SECOND), stop)


class StopBounce(Fault):
    """The belt stops, and its line-stopped contact bounces one to three times."""

    name = "stop_bounce"
    rate = 1e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.control.signal_bounces = line.rng.randint(1, 3)
        BELT_STOP.strike(line, part, now_ns)


class PauseResume(Fault):
    """An operator pauses inspection for 0.2 to 5 s."""

    name = "pause_resume"
    rate = 1e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.pause_for(line.rng.randint(SECOND // 5, 5 * SECOND), now_ns)


class RecipeChange(Fault):
    """Another recipe with other thresholds is applied between two parts."""

    name = "recipe_change"
    rate = 2e-4

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.agenda.at(now_ns + line.rng.randint(0, 300 * MS), line.change_recipe)


class LateInput(Fault):
    """The events of one input reach the station 2 to 500 ms late, in a burst."""

    name = "late_input"
    rate = 1e-3

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        name = line.rng.choice(line.inputs)
        longest_ns = SECOND // 2 if line.rng.random() < 0.2 else 80 * MS
        duration_ns = line.rng.randint(2 * MS, longest_ns)
        start_ns = now_ns + line.rng.randint(0, SECOND)
        line.agenda.at(start_ns, lambda t: line.delay(name, duration_ns, t))


class EncoderGlitch(Fault):
    """The encoder counts one to forty too many at once."""

    name = "encoder_glitch"
    rate = 2e-4
    needs_encoder = True

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.encoder_extra = line.rng.choice((1, 1, 2, 10, 40))


class EncoderStall(Fault):
    """The encoder goes silent although the belt moves, until it is repaired."""

    name = "encoder_stall"
    rate = 5e-5
    needs_encoder = True

    @override
    def strike(self, line: FaultyLine, part: SimPart, now_ns: int) -> None:
        line.world.encoder_stalled = True
        line.agenda.at(now_ns + line.rng.randint(2 * SECOND, 20 * SECOND), line.mend_encoder)


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Bounce(),
        DoubleTrigger(),
        MissedTrigger(),
        LateFrame(),
        DroppedFrame(),
        RepeatedFrame(),
        StaleFrame(),
        FrozenFrame(),
        ReshownFrame(),
        OffStamp(),
        OffExposure(),
        DeadCamera(),
        SlowInference(),
        FailedInference(),
        LostInference(),
        EngineDuplicate(),
        StuckGatePassing(),
        StuckGateRejecting(),
        ConfirmMissed(),
        ConfirmSpurious(),
        ClockStep(),
        FullDisk(),
        RecordsDeleted(),
        CrashRestart(),
        CoreHang(),
        Overflow(),
        GuardMissed(),
        BELT_STOP,
        BeltStutter(),
        LateStopSignal(),
        StopBounce(),
        PauseResume(),
        RecipeChange(),
        LateInput(),
        EncoderGlitch(),
        EncoderStall(),
    )
}


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
            f"There is no fault named {name!r}.",
            next_action=f"Choose all, none, or some of: {', '.join(FAULTS)}.",
        )
    if not 0.0 <= rate <= 1.0:
        raise UsageError(f"The rate of {name} is {rate}; it must lie between 0 and 1 per part.")
    if not _possible(FAULTS[name], guarded, encoder):
        sensor = "a guard sensor" if FAULTS[name].needs_guard else "an encoder"
        raise UsageError(f"{name} needs a line with {sensor}, and this one has none.")


def _possible(fault: Fault, guarded: bool, encoder: bool) -> bool:
    return (guarded or not fault.needs_guard) and (encoder or not fault.needs_encoder)
