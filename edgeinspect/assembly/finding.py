"""What one check found, for ``edgeinspect check`` and its guided acceptance of the hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeinspect.errors import EdgeInspectError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one check.

    ``edgeinspect.health.compare.HealthItem`` is another thing: how a running station is at the
    moment, which fails no command.

    Attributes:
        state: "ok", "warn", "fail", or "not tried" where nobody was there to help.
        figures: what was measured, by name with its unit.
        emulated: by what, where it was not the real thing; else "".
        exit_code: what a failure means for the command; 0 otherwise.
    """

    name: str
    state: str
    detail: str
    next_action: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)
    emulated: str = ""
    exit_code: int = 0

    @classmethod
    def failed(cls, name: str, error: EdgeInspectError, *, emulated: str = "") -> Finding:
        """A check that ended in an error."""
        return cls(
            name=name,
            state="fail",
            detail=error.message,
            next_action=error.next_action,
            emulated=emulated,
            exit_code=error.exit_code,
        )


def exit_code(findings: Sequence[Finding]) -> int:
    """Return the exit code of the first failure; 0 without one."""
    return next((finding.exit_code for finding in findings if finding.state == "fail"), 0)
