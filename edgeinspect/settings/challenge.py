"""The section ``challenge`` of the station file: when the station has to be proven again."""

from __future__ import annotations

import datetime
import zoneinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from edgeinspect.files.yaml_expected import Rule
from edgeinspect.settings.base import Label, PathText, Section

TimeOfDay = Annotated[
    str,
    StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
    Field(description="a time of the day like 06:00"),
]


class Occasion(StrEnum):
    """What demands a challenge."""

    START = "start"
    SHIFT = "shift"
    PRODUCT = "product"
    RECIPE = "recipe"


class Without(StrEnum):
    """What happens while a challenge is due."""

    ALARM = "alarm"
    LOCK = "lock"


class Challenge(Section):
    """When the station has to be proven again, and what happens until it is.

    Attributes:
        masters: The file of the numbered masters; ``{product}`` in it is replaced by the product.
        when: The occasions that require a challenge.
        shift_starts: When the shifts begin, in ``time_zone``; needed for ``shift``.
        time_zone: A name from the IANA time zone database.
        shift_grace_s: The time left after a shift begins while the station runs.
        without: An alarm only, or the lock, which rejects everything.
    """

    masters: PathText
    when: tuple[Occasion, ...] = Field(min_length=1)
    shift_starts: tuple[TimeOfDay, ...] = Field(default=(), max_length=24)
    time_zone: Label = "UTC"
    shift_grace_s: float = Field(default=0.0, ge=0, le=7200)
    without: Without = Without.LOCK

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for key in ("when", "shift_starts"):
            values: tuple[str, ...] = getattr(self, key)
            if len(set(values)) != len(values):
                raise Rule(key, value=[*values], expected="each of them only once")
        if (Occasion.SHIFT in self.when) != bool(self.shift_starts):
            expected = "the start times of the shifts, because when contains shift"
            if self.shift_starts:
                expected = "no times, because when does not contain shift"
            raise Rule("shift_starts", value=[*self.shift_starts], expected=expected)
        try:
            _ = self.zone
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            expected = "a time zone known on this machine, e.g. UTC or Europe/Berlin"
            raise Rule("time_zone", value=self.time_zone, expected=expected) from None
        return self

    def masters_of(self, product: str) -> Path:
        """Return the file of this product's masters."""
        return Path(str(self.masters).replace("{product}", product))

    @property
    def zone(self) -> datetime.tzinfo:
        """The time zone; UTC also on a machine without a time zone database."""
        return datetime.UTC if self.time_zone == "UTC" else zoneinfo.ZoneInfo(self.time_zone)
