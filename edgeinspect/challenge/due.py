"""What the running station owes: kept durable, and turned into lock and alarm.

A reason that was found stays until a challenge has been passed and recorded. What could not be
saved holds all the same, and is saved as soon as the disk takes it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

from edgeinspect.challenge.challenge_store import ChallengeStore, Owed
from edgeinspect.challenge.policy import (
    Due,
    LastPass,
    Moment,
    Reason,
    due_at_start,
    due_for_recipe,
    due_now,
    locks,
)
from edgeinspect.clocks import read_beside_mono
from edgeinspect.errors import EdgeInspectError
from edgeinspect.hw.clock import boot_id as this_boot
from edgeinspect.ports import Clock
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.settings.audit import AuditTrail
from edgeinspect.settings.challenge import Challenge


class Debt:
    """What is owed under a policy; without one, never anything.

    Args:
        on_fault: told one sentence when the state could not be saved.
        trail: what is kept is believed only as far as this bears it out; None: as it is.
        boot_id: of the kernel; None: of this machine.
    """

    def __init__(
        self,
        policy: Challenge | None,
        store: ChallengeStore,
        clock: Clock,
        plan: StationPlan,
        *,
        on_fault: Callable[[str], None],
        boot_id: str | None = None,
        trail: AuditTrail | None = None,
    ) -> None:
        self._policy = policy
        self._store = store
        self._clock = clock
        self._boot_id = this_boot() if boot_id is None else boot_id
        self._on_fault = on_fault
        self._shift_due_mono_ns: int | None = None
        self._owed = Owed()
        self._saved = self._owed
        if policy is not None:
            self._saved = self._owed = store.owed()
            doubt = "" if trail is None else store.doubt(self._owed, trail)
            if doubt:
                self._add({Reason.STATE_LOST: doubt})
            self._add(due_at_start(policy, self.last, self.moment(), **_of(plan)))

    @property
    def due(self) -> Due:
        return self._owed.due

    @property
    def last(self) -> LastPass | None:
        return self._owed.last

    @property
    def locks(self) -> bool:
        """Whether what is due locks the station. A grace is for a running station alone."""
        if self._policy is None:
            return False
        since = self._shift_due_mono_ns
        grace_ns = int(self._policy.shift_grace_s * 1e9)
        over = since is None or self._clock.now_mono_ns() - since >= grace_ns
        return locks(self._policy, self.due, shift_grace_over=over)

    def moment(self) -> Moment:
        """Now, on both clocks."""
        now = read_beside_mono(self._clock.now_wall, self._clock.now_mono_ns)
        return Moment(
            boot_id=self._boot_id,
            mono_ns=now.mono_ns,
            wall=now.other.astimezone(datetime.UTC),
            synchronized=self._clock.is_synchronized(),
        )

    def look_at_the_clock(self) -> None:
        """Add what the time brings, and save what is not saved yet."""
        if self._policy is None:
            return
        found = due_now(self._policy, self.last, self.moment())
        if Reason.SHIFT in found and Reason.SHIFT not in self.due:
            self._shift_due_mono_ns = self._clock.now_mono_ns()
        self._add(found)

    def change_to(self, plan: StationPlan) -> frozenset[Reason]:
        """Another recipe comes into force; what that added, for ``take_back``."""
        if self._policy is None:
            return frozenset()
        before = frozenset(self.due)
        self._add(due_for_recipe(self._policy, self.last, **_of(plan)))
        return frozenset(self.due) - before

    def take_back(self, reasons: frozenset[Reason]) -> None:
        """The change did not come about."""
        left = {reason: text for reason, text in self.due.items() if reason not in reasons}
        self._owed = replace(self._owed, due=left)
        self._save()

    def begin(self, author: str) -> None:
        """A challenge begins: a station that dies in the middle has not been proven.

        Raises:
            StorageFault: that could not be kept; then no challenge can be.
        """
        if self._policy is None:
            return
        text = f"{author} began a challenge that did not end"
        owed = replace(self._owed, due=self.due | {Reason.UNFINISHED: text})
        self._store.save(owed)
        self._saved = self._owed = owed

    def fail(self, reason: Reason, text: str) -> None:
        """A challenge ended without proof."""
        if self._policy is None:
            return
        due = {key: value for key, value in self.due.items() if key is not Reason.UNFINISHED}
        self._owed = replace(self._owed, due=due | {reason: text})
        self._save()

    def settle(self, last: LastPass, plan: StationPlan) -> None:
        """A challenge was passed; what has come up since it began stays due.

        If that cannot be saved, everything stays due.
        """
        if self._policy is None:
            return
        due = due_for_recipe(self._policy, last, **_of(plan))
        before = self._owed
        self._owed = Owed(last=last, due=due | due_now(self._policy, last, self.moment()))
        if self._save():
            self._shift_due_mono_ns = None
        else:
            self._owed = before

    def _add(self, found: Due) -> None:
        new = {reason: text for reason, text in found.items() if reason not in self.due}
        if new:
            self._owed = replace(self._owed, due=self.due | new)
        if self._saved != self._owed:
            self._save()

    def _save(self) -> bool:
        try:
            self._store.save(self._owed)
        except EdgeInspectError as error:
            self._on_fault(str(error))
            return False
        self._saved = self._owed
        return True


def _of(plan: StationPlan) -> dict[str, str]:
    return {"product": plan.recipe.product, "digest": plan.digest}
