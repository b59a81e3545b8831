"""The masters file that people write, and its rules."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from edgeinspect.errors import ConfigError
from edgeinspect.files.yaml_expected import Rule
from edgeinspect.files.yaml_file import YamlFile, read_yaml, validate
from edgeinspect.part import VerdictKind
from edgeinspect.runtime.plan import StationPlan
from edgeinspect.settings.base import FormatOne, Label, Name, PathText, Section
from edgeinspect.settings.recipe import RoiBox


class Master(Section):
    """One master part.

    Attributes:
        id: As engraved or written on the part.
        expect: The verdict it must get.
        defect_class: The class that must decide a REJECT or REVIEW; None allows any.
        place: Where its defect is, in frame pixels; None allows any place.
        description: For the person who looks for the part.
        picture: For the same person; the simulated line shows it to the camera.
    """

    id: Annotated[int, Field(ge=1, le=999_999)] | Name
    expect: VerdictKind
    defect_class: Label | None = None
    place: RoiBox | None = None
    description: Label | None = None
    picture: PathText | None = None

    @property
    def label(self) -> str:
        """The id as text."""
        return str(self.id)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if self.expect not in (VerdictKind.REJECT, VerdictKind.REVIEW):
            for key in ("defect_class", "place"):
                if getattr(self, key) is not None:
                    expected = f"nothing, because {self.expect.value} is expected"
                    raise Rule(key, value=getattr(self, key), expected=expected)
        return self


class MasterSet(Section):
    """The masters of one product, in the order in which they are requested."""

    format: FormatOne
    product: Name
    masters: tuple[Master, ...] = Field(min_length=2, max_length=200)

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        seen: set[str] = set()
        for at, master in enumerate(self.masters):
            if master.label in seen:
                raise Rule("masters", at, "id", value=master.id, expected="each id only once")
            seen.add(master.label)
        kinds = {master.expect for master in self.masters}
        for kind, word in ((VerdictKind.PASS, "good"), (VerdictKind.REJECT, "bad")):
            if kind not in kinds:
                expected = f"at least one {word} master, with expect: {kind.value}"
                raise Rule("masters", value=[m.label for m in self.masters], expected=expected)
        return self


@dataclass(frozen=True, slots=True)
class LoadedMasters:
    """A file of masters that was read and checked.

    Attributes:
        path: The file; its pictures are in the same folder.
        sha256: The digest of its content, 64 hexadecimal digits.
        source: Gives the line numbers for error messages.
    """

    path: Path
    sha256: str
    content: MasterSet
    source: YamlFile

    def picture_of(self, master: Master) -> Path | None:
        """Return the path of a master's picture."""
        return None if master.picture is None else self.path.absolute().parent / master.picture

    def refuse(self, at: int, key: str, value: object, expected: str) -> ConfigError:
        """Return an error that names a key of the master with index ``at``."""
        return ConfigError(
            file=self.path,
            line=self.source.line_of(("masters", at, key)),
            key=f"masters[{at}].{key}",
            value=value,
            expected=expected,
        )


def load_masters(path: str | os.PathLike[str]) -> LoadedMasters:
    """Read and check a file of masters; its pictures must exist. Raises ConfigError."""
    source = read_yaml(path)
    content = validate(source, MasterSet)
    digest = hashlib.sha256(source.content).hexdigest()
    loaded = LoadedMasters(path=Path(path), sha256=digest, content=content, source=source)
    for at, master in enumerate(content.masters):
        picture = loaded.picture_of(master)
        if picture is not None and not picture.is_file():
            raise loaded.refuse(
                at, "picture", str(master.picture), "an existing file in the same folder"
            )
    return loaded


def check_masters(masters: LoadedMasters, plan: StationPlan, *, simulated: bool) -> None:
    """Check masters against the plan in force. Raises ConfigError.

    Args:
        masters: The masters to check.
        plan: The plan in force.
        simulated: The line is simulated, so each master needs a picture.
    """
    content = masters.content
    if content.product != plan.recipe.product:
        raise ConfigError(
            file=masters.path,
            line=masters.source.line_of(("product",)),
            key="product",
            value=content.product,
            expected=f"{plan.recipe.product}, which the station inspects now",
        )
    classes = plan.bundle.card.defect_classes
    for at, master in enumerate(content.masters):
        if master.defect_class is not None and master.defect_class not in classes:
            expected = f"one of {', '.join(classes)}"
            raise masters.refuse(at, "defect_class", master.defect_class, expected)
        if master.place is not None and plan.roi is not None:
            place = master.place.region
            if not place.overlaps(plan.roi):
                expected = f"a region inside the recipe's ROI {tuple(plan.roi)}"
                raise masters.refuse(at, "place", tuple(place), expected)
        if simulated and master.picture is None:
            expected = "a picture, because the simulated line shows it to the camera"
            raise masters.refuse(at, "picture", None, expected)
