"""Running a challenge from outside the station: ask, wait, watch. The station judges."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edgeinspect.errors import CommandRefused, EdgeInspectError, NotGood
from edgeinspect.undo import undo_on_error

POLL_S = 0.1
_BELT_NOT_READY = "BeltNotReady"


class Caller(Protocol):
    """The part of ``edgeinspect.control.client.ControlClient`` that is used here."""

    def call(
        self, command: str, *, timeout_s: float | None = None, **arguments: object
    ) -> Mapping[str, Any]:
        """Send a command to the station and return its answer."""


class Prompter(Protocol):
    """Talks with whoever puts the masters on the line."""

    def ask(self, state: Mapping[str, Any], alive: Callable[[], None]) -> bool:
        """Ask for ``state["next"]``; False to give up.

        ``alive`` is to be called every few seconds while this waits.
        """

    def ready(self, master: Mapping[str, Any]) -> None:
        """The station waits for the master now."""

    def waiting(self, why: str) -> None:
        """The belt is not empty yet."""

    def result(self, result: Mapping[str, Any]) -> None:
        """Show the result of one master."""


class ChallengeRun:
    """One challenge over the control socket.

    Args:
        part_timeout_s: how long a master may take to come and to be recorded.
        belt_timeout_s: how long the belt may take to run empty and at full speed.
        clock_s: a clock in seconds; tests give their own.
        sleep: waits; tests give their own.
    """

    def __init__(
        self,
        station: Caller,
        prompter: Prompter,
        *,
        part_timeout_s: float = 120.0,
        belt_timeout_s: float = 60.0,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._station = station
        self._prompter = prompter
        self._part_timeout_s = part_timeout_s
        self._belt_timeout_s = belt_timeout_s
        self._clock_s = clock_s
        self._sleep = sleep
        self._token = ""
        self._shown = 0

    def run(self, *, author: str, reason: str = "", masters: str | None = None) -> dict[str, Any]:
        """Ask for every master; returns the final state, whatever the outcome.

        A challenge that this cannot finish is aborted.

        Raises:
            CommandRefused: the station did not begin it.
            StationUnreachable, StationTimeout: the station no longer answers.
        """
        begin: dict[str, object] = {"author": author, "reason": reason}
        if masters is not None:
            begin["masters"] = masters
        state = self._call("begin", **begin)
        self._token = str(state["token"])
        with undo_on_error(self._abort):
            while not state.get("outcome"):
                state = self._one_master(state)
        return dict(state)

    def _one_master(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        master = state["next"]
        if not self._prompter.ask(state, self._alive):
            return self._call("abort")
        self._announce()
        self._prompter.ready(master)
        deadline_s = self._clock_s() + self._part_timeout_s
        while (state := self._call("state"))["phase"] == "awaiting":
            if self._clock_s() > deadline_s:
                raise NotGood(
                    f"Master {master['id']} did not arrive within {self._part_timeout_s:g} s.",
                    next_action="Start the challenge again.",
                )
            self._sleep(POLL_S)
        for result in state["results"][self._shown :]:
            self._prompter.result(result)
        self._shown = len(state["results"])
        return state

    def _announce(self) -> None:
        """Once the belt is empty."""
        deadline_s = self._clock_s() + self._belt_timeout_s
        said = False
        while True:
            try:
                self._call("next")
                return
            except CommandRefused as error:
                if error.code != _BELT_NOT_READY:
                    raise
                if self._clock_s() > deadline_s:
                    raise NotGood(
                        f"Not ready within {self._belt_timeout_s:g} s: {error.message}",
                        next_action="Stop the infeed, wait until the belt is empty, then start "
                        "again.",
                    ) from error
                if not said:
                    self._prompter.waiting(error.message)
                    said = True
                self._sleep(POLL_S)

    def _alive(self) -> None:
        self._call("state")

    def _abort(self) -> None:
        """As far as that is still possible; the station gives up a silent client by itself."""
        try:
            self._call("abort")
        except EdgeInspectError:
            return

    def _call(self, action: str, **arguments: object) -> Mapping[str, Any]:
        if self._token:
            arguments["token"] = self._token
        return self._station.call("challenge", timeout_s=None, action=action, **arguments)
