"""The challenge in the running station: who is asked for, what became of it, and the lock.

A client (``edgeinspect challenge run``) begins a challenge over the control socket, lets the
station announce one master after the other, and watches. The station judges by its own records,
once they are durable. While a challenge runs everything but the announced master is rejected.

All of it happens in one thread of its own and in the control socket's; the line and the recorder
only hand over what they have finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.challenge.challenge_store import ChallengeStore
from edgeinspect.challenge.due import Debt
from edgeinspect.challenge.policy import LastPass, Reason
from edgeinspect.challenge.seams import BeltNotReady, Lockable, MasterFeeder
from edgeinspect.challenge.session import ChallengeSession, check_masters
from edgeinspect.errors import EdgeInspectError, NotGood, UsageError
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import Doubt, PartRecord, VerdictKind
from edgeinspect.ports import Clock
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.audit import AUDIT_FILE, AuditTrail
from edgeinspect.settings.challenge import Challenge, load_masters

CHALLENGE_DUE = "challenge_due"
CHALLENGE_NOT_KEPT = "challenge_not_kept"
IDLE_NS = 30_000_000_000
"""A client that has not been heard of for so long is gone; its challenge is aborted."""
_TICK_S = 0.5
_SOON_S = 0.05
_ANNOUNCE_S = 2.0
_STOP_S = 3.0
_STRANGER = "a part that is no master came: stop the infeed, empty the belt and begin again"


class ChallengeDesk:
    """Create it, ``attach`` the station, ``start``, and ``stop`` before the station stops.

    Args:
        plan: what is in force now; asked again whenever it matters.
        boot_id: of the kernel; None: of this machine.
        read_picture: a picture file as uint8 pixels, for the simulated line.
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
        self._data_dir = data_dir
        self._store = ChallengeStore(data_dir)
        self._trail = AuditTrail(data_dir / AUDIT_FILE)
        self._lock = threading.RLock()
        self._session: ChallengeSession | None = None
        self._recorded: deque[PartRecord] = deque(maxlen=10_000)
        self._wake = threading.Event()
        self._stopping = False
        self._station: Lockable | None = None
        self._alarmed: frozenset[Reason] = frozenset()
        self._debt = Debt(
            policy,
            self._store,
            clock,
            plan(),
            on_fault=self._not_kept,
            boot_id=boot_id,
            trail=self._trail,
        )

    # --- what the composition root uses ---------------------------------------------------------

    @property
    def locks_now(self) -> bool:
        """Whether what is due locks the station; without a challenge that runs."""
        return self._debt.locks

    def attach(self, station: Lockable) -> None:
        """From now on the station is kept as what is due demands."""
        self._station = station
        self._enforce()

    def run(self) -> None:
        """The thread: judge what was recorded, look at the clock, keep the lock as it must be."""
        while not self._stopping:
            self._wake.wait(_TICK_S if not self._recorded else _SOON_S)
            self._wake.clear()
            if not self._stopping:
                self.tick()

    def stop(self) -> None:
        """Abort a challenge that runs and let ``run`` return."""
        self._stopping = True
        self._wake.set()
        if not self._lock.acquire(timeout=_STOP_S):
            return  # a command that hangs on a disk must not keep the station from its stop
        try:
            if self._session is not None and self._session.running:
                self._finish("aborted", "the station was stopped")
        finally:
            self._lock.release()

    def recorded(self, records: Iterable[PartRecord]) -> None:
        """In the recorder's thread: these records are durable."""
        session = self._session
        if session is None or session.announced_mono_ns is None:
            return
        self._recorded.extend(records)
        self._wake.set()

    @contextlib.contextmanager
    def changing_to(self, plan: StationPlan) -> Iterator[None]:
        """Around a change of recipe: what it demands is in force before the recipe is.

        If the change fails, nothing more is due than before.
        """
        with self._lock:
            added = self._debt.change_to(plan)
            self._enforce()
        try:
            yield
        except BaseException:
            with self._lock:
                self._debt.take_back(added)
                self._enforce()
            raise

    # --- commands -------------------------------------------------------------------------------

    def command(self, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """Carry out the control command ``challenge`` (docs/reference/challenge.md).

        Raises:
            EdgeInspectError: The command is wrong, or the challenge cannot do it now.
        """
        action = arguments.get("action", "state")
        token = arguments.get("token")
        with self._lock:
            match action:
                case "begin":
                    self._begin(arguments)
                case "next":
                    self._next(token)
                case "abort":
                    self._running(token)
                    self._finish("aborted", "it was given up")
                case "state":
                    pass
                case _:
                    known = "begin, next, state, abort"
                    raise UsageError(f"There is no action {action!r}; there are: {known}.")
            session = self._session
            if session is not None and token == session.token:
                session.last_call_mono_ns = self._clock.now_mono_ns()
            return self._state(with_token=action == "begin")

    def _begin(self, arguments: Mapping[str, Any]) -> None:
        station = self._attached()
        if self._session is not None and self._session.running:
            raise UsageError(
                f"{self._session.author} is running a challenge already.",
                next_action="Wait until it has ended.",
            )
        if station.state not in (StationState.INSPECTING, StationState.LOCKED):
            raise NotGood(
                f"The station is {station.state.value}: a challenge would prove nothing.",
                next_action="See: edgeinspect status",
            )
        author = _one_line(arguments.get("author"), "author")
        reason = _one_line(arguments.get("reason") or "challenge", "reason")
        plan = self._plan()
        masters = load_masters(self._masters_path(arguments.get("masters")))
        check_masters(masters, plan, simulated=self._feeder is not None)
        moment = self._debt.moment()
        self._debt.begin(author)
        self._recorded.clear()
        self._session = ChallengeSession(
            token=secrets.token_hex(8),
            author=author,
            reason=reason,
            began=moment,
            masters=masters,
            product=plan.recipe.product,
            recipe_digest=plan.digest,
            last_call_mono_ns=moment.mono_ns,
        )
        station.lock()
        if self._feeder is not None:
            self._feeder.hold_back()
        self._publish("began", reason)

    def _next(self, token: object) -> None:
        session, station = self._running(token), self._attached()
        master = session.next_master
        if session.announced_mono_ns is not None or master is None:
            raise UsageError("The last master that was asked for is still on its way.")
        if station.parts_in_flight or (self._feeder is not None and not self._feeder.is_clear):
            raise BeltNotReady(
                "Other parts are still on the belt.",
                next_action="Stop the infeed and let the belt run empty.",
            )
        if not station.belt_is_steady:
            raise BeltNotReady(
                "The belt does not run at its full speed yet.",
                next_action="Let the belt run.",
            )
        session.announced_mono_ns = self._clock.now_mono_ns()
        station.announce_master()
        deadline_s = time.monotonic() + _ANNOUNCE_S
        while station.lock_state is not LockState.AWAITING_MASTER:
            if time.monotonic() > deadline_s:
                session.announced_mono_ns = None
                station.lock()
                raise BeltNotReady(
                    "A part came just now.", next_action="Stop the infeed and try again."
                )
            time.sleep(0.01)
        picture = session.masters.picture_of(master)
        if self._feeder is not None and picture is not None:
            defective = master.expect is not VerdictKind.PASS
            self._feeder.put_on(self._read_picture(picture), defective=defective)

    def _running(self, token: object) -> ChallengeSession:
        session = self._session
        if session is None or session.token != token:
            raise UsageError("This is not the challenge that runs.")
        if not session.running:
            raise UsageError(f"The challenge has ended: {session.outcome}, {session.detail}.")
        return session

    def _masters_path(self, given: object) -> Path:
        if self._policy is not None:
            if given is not None:
                raise UsageError(
                    f"The station file names the masters: {self._policy.masters}.",
                    next_action="Leave the masters out, or change the station file.",
                )
            return self._policy.masters_of(self._plan().recipe.product)
        if not isinstance(given, str) or not given:
            raise UsageError(
                "The station file names no masters.",
                next_action="Give --masters FILE, or add the section challenge.",
            )
        return Path(given)

    # --- the thread's work ----------------------------------------------------------------------

    def tick(self) -> None:
        """Everything that is due now."""
        with self._lock:
            while self._recorded and self._take(self._recorded[0]):
                self._recorded.popleft()
            session = self._session
            if session is not None and session.running:
                silent_ns = self._clock.now_mono_ns() - session.last_call_mono_ns
                if silent_ns > IDLE_NS:
                    self._finish("aborted", "nobody has been heard of for 30 s")
            self._debt.look_at_the_clock()
            self._enforce()

    def _take(self, record: PartRecord) -> bool:
        """Judge a record; False if that has to wait until the station's view has caught up."""
        session, station = self._session, self._attached()
        if session is None or not session.running or session.announced_mono_ns is None:
            return True
        if record.trigger_mono_ns < session.announced_mono_ns:
            return True
        if record.verdict.doubt is Doubt.LOCKED:
            self._finish("aborted", _STRANGER)
            return True
        if station.lock_state is not LockState.LOCKED:
            return False
        if station.parts_in_flight:  # nobody can say which of them the master is
            self._finish("aborted", _STRANGER)
            return True
        session.judge(record, self._plan())
        if session.next_master is None:
            self._finish(*session.verdict())
        return True

    def _finish(self, outcome: str, detail: str) -> None:
        """The record, then the audit trail, then what follows from it."""
        session = self._session
        assert session is not None
        session.outcome, session.detail = outcome, detail
        session.announced_mono_ns = None
        if outcome == "passed" and self._keep_record(session) and session.number is not None:
            last = LastPass(
                number=session.number,
                began=session.began,
                product=session.product,
                recipe_digest=session.recipe_digest,
            )
            self._debt.settle(last, self._plan())
        else:
            if outcome != "passed":
                self._keep_record(session)
            words = "failed" if outcome == "failed" else "was aborted"
            reason = Reason.FAILED if outcome == "failed" else Reason.UNFINISHED
            self._debt.fail(reason, f"the last challenge {words}: {session.detail}")
        if self._feeder is not None:
            self._feeder.go_on()
        self._enforce()
        self._publish(session.outcome, session.detail)

    def _keep_record(self, session: ChallengeSession) -> bool:
        content = session.record(
            self._plan(),
            due=self._debt.due,
            ended=self._debt.moment(),
            simulated=self._feeder is not None,
        )
        try:
            number, data = self._store.prepare(content)
            self._trail.append(
                f"challenge.{session.outcome}",
                author=session.author,
                reason=session.reason,
                details={
                    "number": number,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "detail": session.detail,
                },
            )
            self._store.put(number, data)
        except EdgeInspectError as error:
            self._not_kept(str(error))
            session.detail += f"; it could not be recorded: {error}"
            session.outcome = "aborted"
            return False
        session.number = number
        return True

    def _not_kept(self, sentence: str) -> None:
        if self._station is not None:
            self._station.faults.count(CHALLENGE_NOT_KEPT, sentence)

    def _enforce(self) -> None:
        station, due = self._attached(), self._debt.due
        wanted = self._debt.locks or (self._session is not None and self._session.running)
        if wanted and station.lock_state is LockState.OPEN:
            station.lock()
        if not wanted and station.lock_state is not LockState.OPEN:
            station.unlock()
        if due:
            text = "; ".join(due.values())
            station.faults.begin(CHALLENGE_DUE, text)
            if frozenset(due) - self._alarmed:
                station.demand_challenge(text)
        else:
            station.faults.end(CHALLENGE_DUE)
        self._alarmed = frozenset(due)
        self._show()

    def _publish(self, what: str, detail: str) -> None:
        self._show()
        session = self._session
        author = "" if session is None else session.author
        feed = self._attached().feed
        feed.publish(event="challenge", outcome=what, detail=detail, author=author)

    # --- what it says ---------------------------------------------------------------------------

    def _show(self) -> None:
        last = self._debt.last
        shifts = self._policy is not None and bool(self._policy.shift_starts)
        self._attached().challenge_status = {
            "demanded": self._policy is not None,
            "due": {reason.value: text for reason, text in self._debt.due.items()},
            "locks": self._debt.locks,
            "running": self._session is not None and self._session.running,
            "last_passed": None if last is None else last.number,
            "last_passed_wall": None if last is None else last.began.wall.isoformat(),
            "shift_clock_trusted": self._clock.is_synchronized() if shifts else None,
        }

    def _state(self, *, with_token: bool) -> dict[str, object]:
        self._show()
        session, station = self._session, self._attached()
        told: dict[str, object] = {
            **station.challenge_status,
            "parts_in_flight": station.parts_in_flight,
            "simulated": self._feeder is not None,
            "data_dir": str(self._data_dir),
        }
        told |= {"phase": "none"} if session is None else session.state()
        return told | ({"token": session.token} if with_token and session is not None else {})

    def _attached(self) -> Lockable:
        assert self._station is not None, "attach the station first"
        return self._station


def _one_line(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise UsageError(f"The challenge's {name} must be 1 to 200 characters.")
    if not value.isprintable():
        raise UsageError(f"The challenge's {name} must be one line.")
    return value
