"""Carrying out the requests on the control socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from edgeinspect.control.connections import (
    MAX_SUBSCRIPTIONS_A_USER,
    Client,
    Role,
    may_subscribe,
)
from edgeinspect.control.feed import EventFeed
from edgeinspect.control.protocol import (
    ProtocolError,
    decode_request,
    error_reply,
    failure,
    success,
)
from edgeinspect.errors import EventQueueFull, UsageError

_APPLY_RECIPE = "apply_recipe"


class Controlled(Protocol):
    """What the commands act on; ``edgeinspect.runtime.station.Station`` is one."""

    @property
    def feed(self) -> EventFeed:
        """The station's events."""

    def status(self) -> Mapping[str, object]:
        """Return the station's status."""

    def trigger(self) -> bool:
        """Post a software trigger; return whether there was room."""

    def pause(self) -> bool:
        """Pause inspection; return whether there was room."""

    def resume(self) -> bool:
        """Resume inspection; return whether there was room."""

    def acknowledge(self) -> bool:
        """Acknowledge all alarms; return whether there was room."""

    def request_stop(self, *, immediate: bool = False) -> None:
        """Stop when the belt is empty, or at once if ``immediate``."""


ApplyRecipe = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, object]]
"""Loads, checks and applies a recipe, which may take seconds; returns the recipe then in force.

The second argument returns False once nobody waits for the answer: then nothing must be applied.
"""
Challenge = Callable[[Mapping[str, Any]], Mapping[str, object]]
"""Carries out one step of a challenge; returns its state."""
Command = Callable[[Client, Mapping[str, Any]], Mapping[str, object]]


class Commands:
    """Answers requests in the server's thread; only applying a recipe takes a thread of its own.

    Args:
        clients: every connection, for the limits on subscriptions.
        reply: sends a line to a client.
        finish: sends the line that ends a slow command; called from the command's own thread.
    """

    def __init__(
        self,
        controlled: Controlled,
        *,
        clients: Collection[Client],
        reply: Callable[[Client, bytes], None],
        finish: Callable[[Client, bytes], None],
        apply_recipe: ApplyRecipe | None,
        challenge: Challenge | None,
    ) -> None:
        self.addresses: Mapping[str, str] = {}
        self._controlled = controlled
        self._clients = clients
        self._reply = reply
        self._finish = finish
        self._apply_recipe = apply_recipe
        self._applying = threading.Lock()
        self._watching: dict[str, Command] = {
            "status": lambda client, arguments: {**controlled.status(), **self.addresses},
            "events": self._subscribe,
        }
        self._immediate: dict[str, Command] = {
            **self._watching,
            "trigger": lambda client, arguments: _accepted(controlled.trigger()),
            "pause": lambda client, arguments: _accepted(controlled.pause()),
            "resume": lambda client, arguments: _accepted(controlled.resume()),
            "acknowledge": lambda client, arguments: _accepted(controlled.acknowledge()),
            "stop": self._stop_station,
        }
        if challenge is not None:
            self._immediate["challenge"] = lambda client, arguments: challenge(arguments)

    def answer(self, client: Client, line: bytes) -> None:
        """Carry out the request on one line and reply, or reply why not."""
        try:
            request_id, command, arguments = decode_request(line)
        except ProtocolError as error:
            self._reply(client, failure(error.request_id, error.code, str(error)))
            return
        known = {*self._immediate, _APPLY_RECIPE}
        if client.role is Role.WATCH and command in known - self._watching.keys():
            self._reply(client, self._not_allowed(request_id, command))
            return
        try:
            if command == _APPLY_RECIPE:
                self._begin_apply(client, request_id, arguments)
                return
            run = self._immediate.get(command)
            if run is None:
                there = ", ".join(sorted(known))
                raise UsageError(f"Unknown command {command!r}; known commands: {there}.")
            self._reply(client, success(request_id, run(client, arguments)))
        except Exception as error:  # noqa: BLE001  one bad command must not end the socket
            self._reply(client, error_reply(request_id, error))

    def _not_allowed(self, request_id: object, command: str) -> bytes:
        allowed = ", ".join(sorted(self._watching))
        return failure(
            request_id,
            "not_allowed",
            f"{command} needs permission to command the station; this connection may only use: "
            f"{allowed}.",
            f"Use {self.addresses['control_socket']} as a user that the station file allows.",
        )

    def _subscribe(self, client: Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        """Send events from the next one on, or from number ``from`` if it is still kept."""
        wanted = arguments.get("from", self._controlled.feed.next_sequence)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            raise UsageError("from must be an event number.")
        if not may_subscribe(self._clients, client):
            raise UsageError(
                f"One user may follow the events on {MAX_SUBSCRIPTIONS_A_USER} connections."
            )
        client.next_event = wanted
        return {"from": wanted}

    def _stop_station(self, client: Client, arguments: Mapping[str, Any]) -> Mapping[str, object]:
        del client
        immediate = arguments.get("immediate", False)
        if not isinstance(immediate, bool):
            raise UsageError("immediate must be true or false.")
        self._controlled.request_stop(immediate=immediate)
        return {"stopping": True}

    def _begin_apply(
        self, client: Client, request_id: object, arguments: Mapping[str, Any]
    ) -> None:
        """Start a thread, because loading and checking a model takes a while."""
        apply = self._apply_recipe
        if apply is None:
            raise UsageError("This station cannot change its recipe while it runs.")
        if not self._applying.acquire(blocking=False):
            self._reply(client, failure(request_id, "busy", "Another recipe is being applied."))
            return

        def run() -> None:
            try:
                reply = success(request_id, apply(arguments, lambda: not client.gone))
            except Exception as error:  # noqa: BLE001  the running recipe stays in force
                reply = error_reply(request_id, error)
            finally:
                self._applying.release()
            self._finish(client, reply)

        client.running = True
        # A daemon, so that a model that hangs cannot keep a stopped station alive.
        threading.Thread(target=run, name="control-apply", daemon=True).start()


def _accepted(accepted: bool) -> Mapping[str, object]:
    if not accepted:
        raise EventQueueFull("The station's event queue is full; try again.")
    return {"accepted": True}
