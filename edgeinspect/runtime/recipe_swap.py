"""Changing the recipe of a running station: between two parts, once or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edgeinspect.errors import UsageError
from edgeinspect.hw.opened import Drivers
from edgeinspect.line.config import LineConfig, Tracking
from edgeinspect.part import CameraControls
from edgeinspect.runtime.inspection import InspectorSet


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRecipe:
    """A recipe whose model is loaded and checked, ready to be taken between two parts."""

    config: LineConfig
    inspectors: InspectorSet
    controls: CameraControls = field(default_factory=CameraControls)


class SwapRecipe:
    """A recipe on its way to the line thread: it comes into force once, or never.

    The waiting thread and the line thread settle it under one lock. So a change that was answered
    with an error cannot happen later, and one that happened is never answered with an error.

    Args:
        wanted: Asked in the line thread at the moment of the change; must not wait.
    """

    def __init__(
        self, recipe: PreparedRecipe, *, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        self.recipe = recipe
        self._wanted = wanted
        self._lock = threading.Lock()
        self._answer: str | None = None
        self._answered = threading.Event()

    def settle(self, put_into_force: Callable[[], str]) -> None:
        """Put it into force, in the line thread, unless it was given up.

        Args:
            put_into_force: Must not wait; returns why it could not be done, or "".
        """
        with self._lock:
            if self._answer is None:
                gone = "The client that requested the recipe has disconnected."
                self._answer = put_into_force() if self._wanted() else gone
        self._answered.set()

    def wait(self, timeout_s: float) -> str:
        """Give it up unless it is in force in time; returns why it never will be, or "".

        Args:
            timeout_s: How long the line thread may take.
        """
        self._answered.wait(timeout_s)
        with self._lock:
            if self._answer is None:
                self._answer = f"The line did not apply the recipe within {timeout_s:g} s."
            return self._answer


def refuse_rewiring(new: PreparedRecipe, *, running: PreparedRecipe, drivers: Drivers) -> None:
    """Raise UsageError if a recipe does not fit the station as it is running."""
    before, after = running.config, new.config
    if after.gate != before.gate or after.track.tracking != before.track.tracking:
        raise UsageError(
            "The recipe changes the gate or the tracking, which are fixed while the station runs.",
            next_action="Restart the station to use it.",
        )
    refuse_misfit(after, drivers)
    brings, runs = len(new.inspectors.inspectors), len(running.inspectors.inspectors)
    if brings != runs:
        raise UsageError(f"The recipe needs {brings} inspectors, but the station runs {runs}.")


def refuse_misfit(config: LineConfig, drivers: Drivers) -> None:
    """Raise UsageError if the drivers are not those that the configuration needs."""
    if (config.track.tracking is Tracking.ENCODER) != (drivers.encoder is not None):
        raise UsageError("An encoder must be wired if it tracks the parts, and only then.")
    if (config.track.to_guard is not None) != (drivers.guard is not None):
        raise UsageError("The guard sensor must be wired if its position is given, and only then.")
    if (config.confirm is not None) != (drivers.confirm is not None):
        raise UsageError("The confirm sensor must be wired if its times are given, and only then.")
