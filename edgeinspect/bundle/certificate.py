"""The proof of the int8 model's accuracy from the PC, and how far a station's engine may differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeinspect.errors import ModelRefused

MAX_CERTIFICATE_BYTES = 4 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tolerance(_Part):
    """How far the engine in use may differ from the reference kernels on the golden pictures.

    Attributes:
        output_steps: largest difference of any output value, in int8 (uint8) steps.
        score_error: largest difference of any defect score, [0, 1].
    """

    output_steps: int = Field(ge=0, le=64)
    score_error: Annotated[float, Field(ge=0.0, le=0.25)]


class Certificate(_Part):
    """``certificate.json``.

    Attributes:
        tolerance: for the golden check at start.
        comparison: float against int8 as the tools found it: metrics, verdict flips at and
            around the thresholds, score-map error, per-layer findings. Free keys; empty where
            the float model is not known.
    """

    format: Literal[1] = 1
    tolerance: Tolerance
    comparison: dict[str, Any] = Field(default_factory=dict)


def parse_certificate(data: bytes, path: Path) -> Certificate:
    """Read a certificate. Raises ModelRefused naming the file and the first problem."""
    try:
        return Certificate.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelRefused(
            f"{path}: {key}: {first['msg']}.",
            next_action="Make the bundle again with edgeinspect-tools, or fetch it again.",
        ) from error


def certificate_bytes(certificate: Certificate) -> bytes:
    """The file's content, stable for equal certificates."""
    return (json.dumps(certificate.model_dump(mode="json"), indent=2) + "\n").encode()
