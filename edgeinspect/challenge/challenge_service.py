"""The challenge in a running station: the thread, the files and the clock around the machine.

A client (``edgeinspect challenge run``) begins a challenge over the control socket, has one master
after another announced, and watches. The station judges by its own records once they are durable.
The line and the recorder only hand over finished parts; everything else happens in this
service's thread and in the control socket's.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinspect.challenge import challenge_messages as c
from edgeinspect.challenge.challenge_machine import ChallengeMachine
from edgeinspect.challenge.challenge_store import ChallengeStore
from edgeinspect.challenge.masters_file import load_masters
from edgeinspect.challenge.policy import NOTHING_DUE, Moment
from edgeinspect.clocks import read_beside_mono
from edgeinspect.control.feed import EventFeed
from edgeinspect.errors import BeltNotReady, EdgeInspectError, UsageError
from edgeinspect.faults import FaultName
from edgeinspect.files import one_line
from edgeinspect.hw.clock import boot_id as this_boot
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import PartRecord
from edgeinspect.ports import Clock
from edgeinspect.runtime.fault_board import FaultBoard
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.challenge import Challenge
from edgeinspect.undo import undo_on_error

_TICK_S = 0.5
_SOON_S = 0.05
_ANNOUNCE_S = 2.0
_STOP_S = 3.0


class ChallengedStation(Protocol):
    """What a challenge uses of ``edgeinspect.runtime.station.Station``."""

    challenge_status: Mapping[str, object]
    faults: FaultBoard
    feed: EventFeed

    @property
    def state(self) -> StationState:
        """What the station does at the moment."""

    @property
    def lock_state(self) -> LockState:
        """Whether the station is locked, and where an announced master is."""

    @property
    def parts_in_flight(self) -> int:
        """Number of parts between trigger and gate."""

    @property
    def belt_is_steady(self) -> bool:
        """Whether the belt is at its speed."""

    def lock(self) -> None:
        """Lock the station."""

    def unlock(self) -> None:
        """Unlock the station."""

    def announce_master(self) -> None:
        """Announce that the next part is a master."""

    def demand_challenge(self, detail: str) -> None:
        """Raise the alarm that a challenge is due."""


class MasterFeeder(Protocol):
    """Puts masters on a simulated line, where nobody else can."""

    @property
    def is_clear(self) -> bool:
        """Whether no part is on its way to the gate, seen by a sensor or not yet."""

    def hold_back(self) -> None:
        """Put no other parts on the line."""

    def put_on(self, picture: NDArray[np.uint8], *, defective: bool) -> None:
        """Put one master on the line. Raises UsageError for a picture it cannot show."""

    def go_on(self) -> None:
        """Feed as before."""


class ChallengeService:
    """Create it, ``attach`` the station, ``run`` it in a thread, ``stop`` it before the station.

    Args:
        plan: Returns the plan in force; asked again whenever it matters.
        boot_id: The kernel's; None means this machine's.
        read_picture: Reads a picture file as uint8 pixels, for the simulated line.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        policy: Challenge | None,
        plan: Callable[[], StationPlan],
        clock: Clock,
        read_picture: Callable[[Path], NDArray[np.uint8]],
        feeder: MasterFeeder | None = None,
        boot_id: str | None = None,
    ) -> None:
        self._policy = policy
        self._plan = plan
        self._clock = clock
        self._read_picture = read_picture
        self._feeder = feeder
        self._boot_id = this_boot() if boot_id is None else boot_id
        self._data_dir = data_dir
        self._store = ChallengeStore(data_dir)
        self._trail = AuditTrail(data_dir / AUDIT_FILE)
        self._lock = threading.RLock()
        self._recorded: deque[PartRecord] = deque(maxlen=10_000)
        self._wake = threading.Event()
        self._stopping = False
        self._station: ChallengedStation | None = None
        self._machine = ChallengeMachine(policy, simulated=feeder is not None)
        kept = NOTHING_DUE if policy is None else self._store.load()
        doubt = self._store.doubt(kept, self._trail)
        self._do(self._machine.start(kept, doubt=doubt, moment=self._moment(), plan=plan()))

    @property
    def locks_now(self) -> bool:
        """Whether a due challenge locks the station."""
        return self._machine.due_locks(self._clock.now_mono_ns())

    def attach(self, station: ChallengedStation) -> None:
        """Let the station's lock and alarm follow the due challenges from now on."""
        self._station = station
        self._do(self._machine.follow(self._now()))

    def run(self) -> None:
        """Judge recorded parts and check the clock until ``stop``; the thread's work."""
        while not self._stopping:
            self._wake.wait(_SOON_S if self._recorded else _TICK_S)
            self._wake.clear()
            if not self._stopping:
                self.tick()

    def tick(self) -> None:
        """Do everything that is due now."""
        with self._lock:
            while self._recorded:
                if not self._do(self._machine.record(self._now(), self._recorded[0])):
                    break
                self._recorded.popleft()
            self._do(self._machine.tick(self._now()))

    def stop(self) -> None:
        """Abort a running challenge and let ``run`` return."""
        self._stopping = True
        self._wake.set()
        if not self._lock.acquire(timeout=_STOP_S):
            return  # a command that hangs on a disk must not keep the station from stopping
        try:
            self._do(self._machine.stop(self._now()))
        finally:
            self._lock.release()

    def recorded(self, records: Iterable[PartRecord]) -> None:
        """Take durable records, in the recorder's thread."""
        if self._machine.awaits_master:
            self._recorded.extend(records)
            self._wake.set()

    @contextlib.contextmanager
    def changing_to(self, plan: StationPlan) -> Iterator[None]:
        """Change the recipe inside the block; its challenges are due before it is in force.

        If the change fails, nothing more is due than before.
        """
        with self._lock:
            added = self._do(self._machine.change_recipe(self._now(), plan))

        def keep() -> None:
            with self._lock:
                self._do(self._machine.keep_recipe(self._now(), added))

        with undo_on_error(keep):
            yield

    def command(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer the control command ``challenge``; see docs/reference/challenge.md.

        Raises:
            EdgeInspectError: The request is refused, or it could not be done.
        """
        action = arguments.get("action", "state")
        token = arguments.get("token")
        with self._lock:
            now = self._now()
            match action:
                case "begin":
                    self._begin(now, arguments)
                case "next":
                    self._do(self._machine.announce_next(now, token))
                case "abort":
                    self._do(self._machine.abort(now, token))
                case "state":
                    pass
                case _:
                    known = "begin, next, state, abort"
                    raise UsageError(f"Unknown action {action!r}; known actions: {known}.")
            self._machine.heard(token, self._clock.now_mono_ns())
            return {
                **self._show_status(),
                "parts_in_flight": self._attached.parts_in_flight,
                "simulated": self._feeder is not None,
                "data_dir": str(self._data_dir),
                **self._machine.progress(with_token=action == "begin"),
            }

    def _begin(self, now: c.StationNow, arguments: Mapping[str, Any]) -> None:
        self._machine.check_may_begin(now)
        author = _one_line(arguments.get("author"), "author")
        reason = _one_line(arguments.get("reason") or "challenge", "reason")
        masters = load_masters(self._masters_path(now.plan, arguments.get("masters")))
        token = secrets.token_hex(8)
        self._recorded.clear()
        self._do(
            self._machine.begin(now, token=token, author=author, reason=reason, masters=masters)
        )

    def _masters_path(self, plan: StationPlan, given: object) -> Path:
        if self._policy is not None:
            if given is not None:
                raise UsageError(
                    f"The station file already sets the masters: {self._policy.masters}.",
                    next_action="Omit --masters, or change the station file.",
                )
            return self._policy.masters_of(plan.recipe.product)
        if not isinstance(given, str) or not given:
            raise UsageError(
                "The station file has no masters.",
                next_action="Give --masters FILE, or add the section challenge to the station "
                "file.",
            )
        return Path(given)

    # --- carrying out actions -------------------------------------------------------------------

    def _do(self, steps: c.Steps[c.Result]) -> c.Result:
        """Carry out each action; one that fails raises its error inside the machine."""
        try:
            action = next(steps)
            while True:
                try:
                    answer = self._carry_out(action)
                except EdgeInspectError as error:
                    action = steps.throw(error)
                else:
                    action = steps.send(answer)
        except StopIteration as end:
            result: c.Result = end.value
            return result

    def _carry_out(self, action: c.Action) -> int:
        feeder = self._feeder
        match action:
            case c.Do.LOCK:
                self._attached.lock()
            case c.Do.UNLOCK:
                self._attached.unlock()
            case c.Do.ANNOUNCE_MASTER:
                self._announce()
            case c.SaveDue(state):
                self._store.save(state)
            case c.KeepRecord(content):
                return self._keep_record(content)
            case c.CountNotKept(detail):
                if self._station is not None:
                    self._station.faults.count(FaultName.CHALLENGE_NOT_KEPT, detail)
            case c.ShowDue(text, is_new):
                self._show_due(text, is_new=is_new)
            case c.PublishEvent(outcome, detail, author):
                self._show_status()
                feed = self._attached.feed
                feed.publish(event="challenge", outcome=outcome, detail=detail, author=author)
            case c.Do.HOLD_BACK_PARTS if feeder is not None:
                feeder.hold_back()
            case c.PutOnMaster(picture, defective) if feeder is not None:
                feeder.put_on(self._read_picture(picture), defective=defective)
            case c.Do.FEED_PARTS if feeder is not None:
                feeder.go_on()
        return 0

    def _announce(self) -> None:
        station = self._attached
        station.announce_master()
        deadline_s = time.monotonic() + _ANNOUNCE_S
        while station.lock_state is not LockState.AWAITING_MASTER:
            if time.monotonic() > deadline_s:
                raise BeltNotReady(
                    "A part has just arrived.", next_action="Stop the infeed and try again."
                )
            time.sleep(0.01)

    def _keep_record(self, content: Mapping[str, Any]) -> int:
        number, data = self._store.prepare(content)
        self._trail.append(
            f"challenge.{content['outcome']}",
            author=content["author"],
            reason=content["reason"],
            details={
                "number": number,
                "sha256": hashlib.sha256(data).hexdigest(),
                "detail": content["detail"],
            },
        )
        self._store.put(number, data)
        return number

    def _show_due(self, text: str, *, is_new: bool) -> None:
        station = self._attached
        if text:
            station.faults.begin(FaultName.CHALLENGE_DUE, text)
        else:
            station.faults.end(FaultName.CHALLENGE_DUE)
        if is_new:
            station.demand_challenge(text)
        self._show_status()

    def _show_status(self) -> Mapping[str, object]:
        status = self._machine.status(self._moment())
        self._attached.challenge_status = status
        return status

    # --- the station and the clocks now ---------------------------------------------------------

    @property
    def _attached(self) -> ChallengedStation:
        assert self._station is not None, "attach the station first"
        return self._station

    def _now(self) -> c.StationNow:
        station = self._attached
        in_flight = station.parts_in_flight
        return c.StationNow(
            moment=self._moment(),
            plan=self._plan(),
            state=station.state,
            lock=station.lock_state,
            parts_in_flight=in_flight,
            belt_is_clear=not in_flight and (self._feeder is None or self._feeder.is_clear),
            belt_is_steady=station.belt_is_steady,
        )

    def _moment(self) -> Moment:
        now = read_beside_mono(self._clock.now_wall, self._clock.now_mono_ns)
        return Moment(
            boot_id=self._boot_id,
            mono_ns=now.mono_ns,
            wall=now.other.astimezone(datetime.UTC),
            synchronized=self._clock.is_synchronized(),
        )


def _one_line(value: object, name: str) -> str:
    if not isinstance(value, str) or not one_line.is_one_line(value):
        raise UsageError(f"The challenge's {name} must be {one_line.EXPECTED}.")
    return value
