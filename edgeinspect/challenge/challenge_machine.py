"""The challenge without I/O: the next master, the outcome, the due challenges and the lock.

Each public generator is one event. It yields the actions that follow, in their order, and gets each
answer before it continues: an action that fails raises its error at the ``yield``. So the code can
say in one place that nothing counts until it is durable. ``ChallengeService`` carries the actions
out; it has the thread, the files and the clock.

A reason that was found stays due until a challenge has been passed and recorded. If it cannot be
saved it still holds, and is saved as soon as the disk takes it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

from edgeinspect.challenge.challenge_messages import (
    CountNotKept,
    Do,
    KeepRecord,
    PublishEvent,
    PutOnMaster,
    SaveDue,
    ShowDue,
    StationNow,
    Steps,
)
from edgeinspect.challenge.masters_file import LoadedMasters, check_masters
from edgeinspect.challenge.policy import (
    NOTHING_DUE,
    DueReasons,
    DueState,
    LastPass,
    Moment,
    Reason,
    due_at_start,
    due_for_recipe,
    due_now,
    locks,
)
from edgeinspect.challenge.session import ChallengeSession
from edgeinspect.errors import BeltNotReady, EdgeInspectError, NotGood, UsageError
from edgeinspect.line.parts_lock import LockState
from edgeinspect.part import Doubt, PartRecord, VerdictKind
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.runtime.station_status import StationState
from edgeinspect.settings.challenge import Challenge

SILENCE_NS = 30_000_000_000
"""A client that is silent for this long is considered lost; its challenge is aborted."""
_STRANGER = "a part that is not a master arrived: stop the infeed, empty the belt and start again"


class ChallengeMachine:
    """Decides; see the module. Without a policy a challenge may be run and is never due.

    Args:
        simulated: The line feeds itself.
    """

    def __init__(self, policy: Challenge | None, *, simulated: bool = False) -> None:
        self._policy = policy
        self._simulated = simulated
        self._state = self._saved = NOTHING_DUE
        self._shift_due_mono_ns: int | None = None
        self._alarmed: frozenset[Reason] = frozenset()
        self._session: ChallengeSession | None = None

    @property
    def is_running(self) -> bool:
        """Whether a challenge is running."""
        return self._session is not None and self._session.is_running

    @property
    def awaits_master(self) -> bool:
        """Whether the record of an announced master is awaited."""
        return self._session is not None and self._session.announced_mono_ns is not None

    def due_locks(self, now_mono_ns: int) -> bool:
        """Return whether a due challenge locks the station; a running one has a grace period."""
        if self._policy is None:
            return False
        since = self._shift_due_mono_ns
        grace_ns = int(self._policy.shift_grace_s * 1e9)
        grace_is_over = since is None or now_mono_ns - since >= grace_ns
        return locks(self._policy, self._state.due, shift_grace_over=grace_is_over)

    # --- the station starts, changes its recipe, stops ------------------------------------------

    def start(
        self, kept: DueState, *, doubt: str, moment: Moment, plan: StationPlan
    ) -> Steps[None]:
        """The station starts; ``kept`` holds the reasons that were due when it last ran.

        Args:
            kept: The reasons that were due when the station last ran.
            doubt: Why ``kept`` cannot be trusted, or "".
            moment: The present time.
            plan: The plan in force.
        """
        if self._policy is None:
            return
        self._state = self._saved = kept
        lost = {Reason.STATE_LOST: doubt} if doubt else {}
        yield from self._add(lost | due_at_start(self._policy, kept.last_pass, moment, **_of(plan)))

    def follow(self, now: StationNow) -> Steps[None]:
        """Keep lock and alarm as the due reasons and a running challenge require."""
        wanted = self.is_running or self.due_locks(now.moment.mono_ns)
        if wanted and now.lock is LockState.OPEN:
            yield Do.LOCK
        if not wanted and now.lock is not LockState.OPEN:
            yield Do.UNLOCK
        reasons = frozenset(self._state.due)
        is_new = bool(reasons - self._alarmed)
        self._alarmed = reasons
        yield ShowDue("; ".join(self._state.due.values()), is_new)

    def change_recipe(self, now: StationNow, plan: StationPlan) -> Steps[frozenset[Reason]]:
        """A recipe is about to come into force; returns what that added, for ``keep_recipe``."""
        before = frozenset(self._state.due)
        if self._policy is not None:
            found = due_for_recipe(self._policy, self._state.last_pass, **_of(plan))
            yield from self._add(found)
        yield from self.follow(now)
        return frozenset(self._state.due) - before

    def keep_recipe(self, now: StationNow, added: frozenset[Reason]) -> Steps[None]:
        """The recipe did not come into force: nothing more is due than before."""
        yield from self._hold(replace(self._state, due=self._due_without(added)))
        yield from self.follow(now)

    def stop(self, now: StationNow) -> Steps[None]:
        """The station stops."""
        if self.is_running:
            yield from self._end(now, "aborted", "the station was stopped")

    # --- a client's requests --------------------------------------------------------------------

    def check_may_begin(self, now: StationNow) -> None:
        """Raise UsageError while a challenge runs, NotGood while the station does not inspect."""
        if self._session is not None and self._session.is_running:
            raise UsageError(
                f"{self._session.author} is already running a challenge.",
                next_action="Wait until it is finished.",
            )
        if now.state not in (StationState.INSPECTING, StationState.LOCKED):
            raise NotGood(
                f"The station is {now.state.value}, so a challenge would not prove anything.",
                next_action="See: edgeinspect status",
            )

    def begin(
        self, now: StationNow, *, token: str, author: str, reason: str, masters: LoadedMasters
    ) -> Steps[None]:
        """Begin a challenge: from now on only announced masters are inspected.

        Raises:
            UsageError, NotGood: See ``check_may_begin``.
            ConfigError: The masters do not fit the station.
            StorageFault: A station that dies now would not know that it was being proven.
        """
        self.check_may_begin(now)
        check_masters(masters, now.plan, simulated=self._simulated)
        if self._policy is not None:
            text = f"{author} started a challenge that was not finished"
            due = self._state.due | {Reason.UNFINISHED: text}
            yield from self._save_first(replace(self._state, due=due))
        self._session = ChallengeSession(
            token=token,
            author=author,
            reason=reason,
            began=now.moment,
            masters=masters,
            product=now.plan.recipe.product,
            recipe_digest=now.plan.digest,
            last_call_mono_ns=now.moment.mono_ns,
        )
        yield Do.LOCK
        yield Do.HOLD_BACK_PARTS
        yield PublishEvent("began", reason, author)

    def announce_next(self, now: StationNow, token: object) -> Steps[None]:
        """Announce the next master. Raises UsageError, BeltNotReady."""
        session = self._running(token)
        master = session.next_master
        if session.announced_mono_ns is not None or master is None:
            raise UsageError("The last announced master has not left the gate yet.")
        if not now.belt_is_clear:
            raise BeltNotReady(
                "Other parts are still on the belt.",
                next_action="Stop the infeed and wait until the belt is empty.",
            )
        if not now.belt_is_steady:
            raise BeltNotReady(
                "The belt is not at full speed yet.", next_action="Keep the belt running."
            )
        session.announced_mono_ns = now.moment.mono_ns
        try:
            yield Do.ANNOUNCE_MASTER
        except BeltNotReady:
            session.announced_mono_ns = None
            yield Do.LOCK
            raise
        picture = session.masters.picture_of(master)
        if picture is not None:
            yield PutOnMaster(picture, defective=master.expect is not VerdictKind.PASS)

    def abort(self, now: StationNow, token: object) -> Steps[None]:
        """The client gives up. Raises UsageError."""
        self._running(token)
        yield from self._end(now, "aborted", "the operator stopped it")

    def heard(self, token: object, now_mono_ns: int) -> None:
        """A client has called; only the one that began the challenge keeps it alive."""
        if self._session is not None and token == self._session.token:
            self._session.last_call_mono_ns = now_mono_ns

    def _running(self, token: object) -> ChallengeSession:
        session = self._session
        if session is None or session.token != token:
            raise UsageError("No such challenge is running.")
        if not session.is_running:
            raise UsageError(f"The challenge is finished: {session.outcome}, {session.detail}.")
        return session

    # --- records and time -----------------------------------------------------------------------

    def record(self, now: StationNow, record: PartRecord) -> Steps[bool]:
        """A part's record is durable.

        Returns:
            False while the record has to wait, because ``now`` does not yet show the part's end.
        """
        session = self._session
        if session is None or session.announced_mono_ns is None:
            return True
        if record.trigger_mono_ns < session.announced_mono_ns:
            return True
        is_master = record.verdict.doubt is not Doubt.LOCKED
        if is_master and now.lock is not LockState.LOCKED:
            return False
        if not is_master or now.parts_in_flight:  # it is unknown which of them is the master
            yield from self._end(now, "aborted", _STRANGER)
            return True
        session.judge(record, now.plan)
        if session.next_master is None:
            yield from self._end(now, *session.verdict())
        return True

    def tick(self, now: StationNow) -> Steps[None]:
        """Time has passed."""
        session, now_mono_ns = self._session, now.moment.mono_ns
        silent = session is not None and now_mono_ns - session.last_call_mono_ns > SILENCE_NS
        if silent and self.is_running:
            yield from self._end(now, "aborted", "the client sent nothing for 30 s")
        if self._policy is not None:
            found = due_now(self._policy, self._state.last_pass, now.moment)
            if Reason.SHIFT in found and Reason.SHIFT not in self._state.due:
                self._shift_due_mono_ns = now_mono_ns
            yield from self._add(found)
        yield from self.follow(now)

    def _end(self, now: StationNow, outcome: str, detail: str) -> Steps[None]:
        """Write audit trail and record first, then act on them."""
        session = self._session
        assert session is not None
        session.end(outcome, detail)
        content = session.record(
            now.plan, due=self._state.due, ended=now.moment, simulated=self._simulated
        )
        try:
            session.number = yield KeepRecord(content)
        except EdgeInspectError as error:
            session.end("aborted", f"{detail}; it could not be recorded: {error}")
            yield CountNotKept(str(error))
        if session.outcome == "passed" and session.number is not None:
            yield from self._prove(now, session, session.number)
        elif self._policy is not None:
            is_failed = outcome == "failed"
            words = "failed" if is_failed else "was aborted"
            reason = Reason.FAILED if is_failed else Reason.UNFINISHED
            due = self._due_without({Reason.UNFINISHED})
            due[reason] = f"the last challenge {words}: {session.detail}"
            yield from self._hold(replace(self._state, due=due))
        yield Do.FEED_PARTS
        yield from self.follow(now)
        yield PublishEvent(session.outcome, session.detail, session.author)

    def _prove(self, now: StationNow, session: ChallengeSession, number: int) -> Steps[None]:
        """What has come up since the challenge began stays due; if unsaved, everything does."""
        if self._policy is None:
            return
        last = LastPass(
            number=number,
            began=session.began,
            product=session.product,
            recipe_digest=session.recipe_digest,
        )
        due = due_for_recipe(self._policy, last, **_of(now.plan))
        due |= due_now(self._policy, last, now.moment)
        try:
            yield from self._save_first(DueState(last_pass=last, due=due))
        except EdgeInspectError as error:
            yield CountNotKept(str(error))
        else:
            self._shift_due_mono_ns = None

    # --- due challenges -------------------------------------------------------------------------

    def _add(self, found: DueReasons) -> Steps[None]:
        """Reasons that are due already keep their first text."""
        due = self._state.due
        yield from self._hold(replace(self._state, due=due | found | due))

    def _due_without(self, reasons: Set[Reason]) -> DueReasons:
        return {key: text for key, text in self._state.due.items() if key not in reasons}

    def _hold(self, state: DueState) -> Steps[None]:
        """In force at once, saved if possible; the next tick tries again."""
        self._state = state
        if state != self._saved:
            try:
                yield SaveDue(state)
            except EdgeInspectError as error:
                yield CountNotKept(str(error))
            else:
                self._saved = state

    def _save_first(self, state: DueState) -> Steps[None]:
        """In force only once it is saved."""
        yield SaveDue(state)
        self._state = self._saved = state

    # --- for status and clients -----------------------------------------------------------------

    def status(self, moment: Moment) -> dict[str, object]:
        """JSON-safe, for the station's status."""
        last = self._state.last_pass
        has_shifts = self._policy is not None and bool(self._policy.shift_starts)
        return {
            "demanded": self._policy is not None,
            "due": {reason.value: text for reason, text in self._state.due.items()},
            "locks": self.due_locks(moment.mono_ns),
            "running": self.is_running,
            "last_passed": None if last is None else last.number,
            "last_passed_wall": None if last is None else last.began.wall.isoformat(),
            "shift_clock_trusted": moment.synchronized if has_shifts else None,
        }

    def progress(self, *, with_token: bool) -> dict[str, Any]:
        """JSON-safe, for the client: how far the challenge is."""
        if self._session is None:
            return {"phase": "none"}
        token = {"token": self._session.token} if with_token else {}
        return self._session.progress() | token


def _of(plan: StationPlan) -> dict[str, str]:
    return {"product": plan.recipe.product, "digest": plan.digest}
