"""The challenge policy in the station file, and the file of numbered masters. People write both."""

from __future__ import annotations

import datetime
import hashlib
import os
import zoneinfo
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.files.yaml_file import YamlFile, read_yaml, validate
from edgeinspect.part import VerdictKind
from edgeinspect.settings.base import FormatOne, Label, Name, PathText, Section
from edgeinspect.settings.recipe import RoiBox

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
        masters: the file of the numbered masters; ``{product}`` in it stands for the product.
        when: what demands a challenge.
        shift_starts: when the shifts begin, in ``time_zone``; needed for ``shift``.
        time_zone: a name of the IANA time zone database.
        shift_grace_s: a shift that begins while the station runs leaves this much time.
        without: the alarm alone, or the lock, which rejects everything.
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
                raise Rule(key, value=[*values], expected="each of them once")
        if (Occasion.SHIFT in self.when) != bool(self.shift_starts):
            expected = "the times at which shifts begin, for when has shift"
            if self.shift_starts:
                expected = "no times, for when does not have shift"
            raise Rule("shift_starts", value=[*self.shift_starts], expected=expected)
        try:
            _ = self.zone
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            expected = "a time zone that this machine knows, e.g. UTC or Europe/Berlin"
            raise Rule("time_zone", value=self.time_zone, expected=expected) from None
        return self

    def masters_of(self, product: str) -> Path:
        """The file of this product's masters."""
        return Path(str(self.masters).replace("{product}", product))

    @property
    def zone(self) -> datetime.tzinfo:
        """The time zone; UTC also on a machine without a time zone database."""
        return datetime.UTC if self.time_zone == "UTC" else zoneinfo.ZoneInfo(self.time_zone)


class Master(Section):
    """One master part.

    Attributes:
        id: as it is engraved or written on the part.
        expect: the verdict it must get.
        defect_class: the class that must decide a REJECT or REVIEW; None: any.
        place: where its defect is, in frame pixels; None: anywhere.
        description: for the person who looks for it.
        picture: of the master, for that person; the simulated line shows it to the camera.
    """

    id: Annotated[int, Field(ge=1, le=999_999)] | Name
    expect: VerdictKind
    defect_class: Label | None = None
    place: RoiBox | None = None
    description: Label | None = None
    picture: PathText | None = None

    @property
    def label(self) -> str:
        return str(self.id)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if self.expect not in (VerdictKind.REJECT, VerdictKind.REVIEW):
            for key in ("defect_class", "place"):
                if getattr(self, key) is not None:
                    expected = f"nothing, for {self.expect.value} is expected"
                    raise Rule(key, value=getattr(self, key), expected=expected)
        return self


class MasterSet(Section):
    """The masters of one product, in the order in which they are asked for."""

    format: FormatOne
    product: Name
    masters: tuple[Master, ...] = Field(min_length=2, max_length=200)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        seen: set[str] = set()
        for at, master in enumerate(self.masters):
            if master.label in seen:
                raise Rule("masters", at, "id", value=master.id, expected="each id once")
            seen.add(master.label)
        kinds = {master.expect for master in self.masters}
        for kind, word in ((VerdictKind.PASS, "good"), (VerdictKind.REJECT, "bad")):
            if kind not in kinds:
                expected = f"at least one {word} master, with expect: {kind.value}"
                raise Rule("masters", value=[m.label for m in self.masters], expected=expected)
        return self


@dataclass(frozen=True, slots=True)
class LoadedMasters:
    """A file of masters as it was read.

    Attributes:
        path: of the file; pictures are beside it.
        sha256: of its content, 64 hexadecimal digits.
    """

    path: Path
    sha256: str
    content: MasterSet
    source: YamlFile

    def picture_of(self, master: Master) -> Path | None:
        return None if master.picture is None else self.path.absolute().parent / master.picture

    def refuse(self, at: int, key: str, value: object, expected: str) -> ConfigError:
        """An error at a key of the master number ``at``, for rules that need more than the file."""
        return ConfigError(
            file=self.path,
            line=self.source.line_of(("masters", at, key)),
            key=f"masters[{at}].{key}",
            value=value,
            expected=expected,
        )


def load_masters(path: str | os.PathLike[str]) -> LoadedMasters:
    """Read and check a file of masters and whether its pictures exist. Raises ConfigError."""
    source = read_yaml(path)
    content = validate(source, MasterSet)
    digest = hashlib.sha256(source.content).hexdigest()
    loaded = LoadedMasters(path=Path(path), sha256=digest, content=content, source=source)
    for at, master in enumerate(content.masters):
        picture = loaded.picture_of(master)
        if picture is not None and not picture.is_file():
            raise loaded.refuse(at, "picture", str(master.picture), "a file beside this one")
    return loaded
