"""What every section of the station file and the recipe shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from edgeinspect.files import one_line


class Section(BaseModel):
    """Immutable; unknown keys, NaN and infinities fail."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _without_control_characters(path: Path) -> Path:
    if any(character < " " or character == "\x7f" for character in str(path)):
        raise ValueError("a path without control characters")
    return path


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"),
    Field(description="1 to 64 letters, digits or any of . _ + -"),
]
Label = Annotated[
    str,
    StringConstraints(pattern=f"^{one_line.STORED}$"),
    Field(description=one_line.EXPECTED),
]
Sha256 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="64 hexadecimal digits in lower case"),
]
PathText = Annotated[Path, AfterValidator(_without_control_characters), Field(description="a path")]
FormatOne = Annotated[int, Field(ge=1, le=1)]
"""The only file format so far. (``Literal[1]`` would also accept ``true``.)"""
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]
PositiveMilliseconds = Annotated[float, Field(gt=0, le=600_000)]
Counts = Annotated[int, Field(ge=0, le=1_000_000_000)]
PositiveCounts = Annotated[int, Field(ge=1, le=1_000_000_000)]
