"""A bundle with its golden data and certificate: every bundle of the tools is written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Card, ColorOrder, InputCard
from edgeinspect.bundle.certificate import Certificate, Tolerance
from edgeinspect.bundle.directory import Bundle, write_bundle
from edgeinspect.bundle.golden import (
    GoldenReport,
    compare_with_golden,
    make_golden,
    parse_golden,
)
from edgeinspect.errors import ModelRefused
from edgeinspect.hw.litert import Kernels, open_model


def write_checked_bundle(
    out: Path,
    card: Card,
    model: bytes,
    *,
    pictures: Sequence[NDArray[np.uint8]] | None = None,
    comparison: Mapping[str, Any] | None = None,
    others: Mapping[str, bytes] | None = None,
    replace: bool = False,
) -> Bundle:
    """Make golden data and certificate, and write the bundle.

    Args:
        out: the bundle's directory.
        card: the card, without digests.
        model: an int8 model that this process has made or tried.
        pictures: golden pictures of the size of a region; None for drawn ones.
        comparison: float against int8, for the certificate.
        others: further files.
        replace: allow an existing bundle.

    Raises:
        ModelRefused: the kernels differ too much, or ``out`` already exists.
        StorageFault: the bundle cannot be written.
    """
    chosen = drawn_pictures(card.input) if pictures is None else pictures
    golden, report = _golden_of(card, model, chosen)
    return write_bundle(
        out,
        card=card,
        model=model,
        golden=golden,
        certificate=Certificate(
            tolerance=tolerance_for(report, card.name),
            comparison={
                **(comparison or {}),
                "fast_kernels_against_reference": asdict(report),
            },
        ),
        others=others,
        replace=replace,
    )


def _golden_of(
    card: Card, model: bytes, pictures: Sequence[NDArray[np.uint8]]
) -> tuple[bytes, GoldenReport]:
    """``golden.npz`` from the reference kernels, and how far this machine's fast ones are off."""
    reference = open_model(model, source=card.name, kernels=Kernels.REFERENCE, probe=False)
    try:
        golden = make_golden(card, pictures, reference)
    finally:
        reference.close()
    parsed = parse_golden(golden, card, card.name)
    fast = open_model(model, source=card.name, threads=1, probe=False)
    try:
        return golden, compare_with_golden(card, parsed, fast)
    finally:
        fast.close()


def drawn_pictures(tile: InputCard, *, count: int = 4) -> list[NDArray[np.uint8]]:
    """Pictures of a tile's size with shapes, slopes and noise; the same on every machine."""
    rng = np.random.default_rng(20240229)
    height, width = tile.height, tile.width
    tail = () if tile.color is ColorOrder.GRAY else (3,)
    pictures: list[NDArray[np.uint8]] = []
    for index in range(count):
        slope = np.linspace(0, 160, width)[None, :] + np.linspace(0, 60, height)[:, None]
        picture = np.broadcast_to(
            slope.reshape(height, width, *([1] * len(tail))), (height, width, *tail)
        )
        picture = picture + rng.integers(0, 8 << index, (height, width, *tail))
        for _ in range(6):
            top, left = int(rng.integers(height)), int(rng.integers(width))
            picture[top : top + height // 4, left : left + width // 4] = rng.integers(0, 256, tail)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def tolerance_for(report: GoldenReport, source: str) -> Tolerance:
    """How far a station's engine may be from the reference kernels, given how far this one is.

    One and a half times the measured difference, because other processors round differently; and
    two output steps for a model on which this processor's kernels agree. A score in [0, 1] has
    256 steps, so 0.01 of score is the same allowance. More would hide an engine that computes
    wrongly.

    Raises:
        ModelRefused: the kernels differ by more than any certificate may allow.
    """
    steps = 2 + -(-3 * report.max_output_steps // 2)
    error = round(0.01 + 1.5 * report.max_score_error, 4)
    try:
        return Tolerance(output_steps=steps, score_error=error)
    except ValueError as cause:
        raise ModelRefused(
            f"{source}: the kernels differ by {report.max_output_steps} steps and "
            f"{report.max_score_error:.3f} in score on the golden pictures.",
            next_action="Give golden pictures with clear scores, or check the quantization.",
        ) from cause
