"""Golden data: raw pictures with the outputs and scores to expect of a bundle.

The outputs come from the reference kernels, which give the same bits on every machine. The
station recomputes them on the engine actually in use before it inspects the first part; faster
kernels round differently by a few steps, and the certificate says how many are allowed.

``golden.npz`` holds, for picture ``i`` = 00, 01, …: ``picture_i`` (uint8, (height, width) or
(height, width, 3) RGB, or (height, width, 2) grey with its reference), ``output_i`` (tiles,
*output shape without batch) and ``scores_i`` (float64, one per defect class, by the card's
reducer).
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import GOLDEN_FILE, Card
from edgeinspect.bundle.directory import FETCH_AGAIN, Bundle
from edgeinspect.bundle.pipeline import Pipeline
from edgeinspect.errors import InferenceFailed, ModelRefused
from edgeinspect.files.one_line import to_one_line
from edgeinspect.ports import Engine

MAX_PICTURES = 64
MAX_UNPACKED_BYTES = 256 << 20
MAX_TILE_BYTES = 256 << 20
"""Of all golden pictures, cut into tiles."""
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_MAGIC_BYTES = 10
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>\|u1|\|i1|<f8)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[0-9]{0,10}(?:, [0-9]{1,10}){0,7}),?\), \} *\n",
    re.DOTALL,
)
"""A ``.npy`` file up to its data, as numpy writes it (numpy.lib.format)."""
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What ``zipfile`` raises of damaged archives."""


@dataclass(frozen=True, slots=True)
class GoldenPicture:
    """One raw picture and what the reference kernels make of it; see the module."""

    picture: NDArray[np.uint8]
    outputs: NDArray[np.generic]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """How far an engine strays from the golden data.

    Attributes:
        pictures: how many were compared.
        max_output_steps: largest difference of any output value, in quantized steps.
        max_score_error: largest difference of any defect score, [0, 1].
    """

    pictures: int
    max_output_steps: int
    max_score_error: float


def make_golden(card: Card, pictures: Sequence[NDArray[np.uint8]], reference: Engine) -> bytes:
    """The content of ``golden.npz``; equal pictures and models give equal bytes.

    Args:
        card: the bundle's card.
        pictures: whole regions of interest, 1 to 64 of them.
        reference: an engine on the reference kernels.

    Raises:
        ValueError: no picture or too many.
        InferenceFailed: the model fails on one.
    """
    if not 1 <= len(pictures) <= MAX_PICTURES:
        raise ValueError(f"1 to {MAX_PICTURES} golden pictures expected, got {len(pictures)}")
    arrays: dict[str, Any] = {}
    for index, picture in enumerate(pictures):
        outputs, scores = _look(card, picture, reference)
        arrays |= {
            f"picture_{index:02d}": np.ascontiguousarray(picture),
            f"output_{index:02d}": outputs,
            f"scores_{index:02d}": scores,
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_golden(bundle: Bundle) -> list[GoldenPicture]:
    """Read the bundle's golden pictures. Raises ModelRefused if the file is damaged."""
    return parse_golden(bundle.golden, bundle.card, str(bundle.directory / GOLDEN_FILE))


def parse_golden(data: bytes, card: Card, source: str) -> list[GoldenPicture]:
    """Golden pictures of a card from a file's bytes; raises ModelRefused naming ``source``."""
    try:
        arrays = _load_arrays(data)
    except _UNREADABLE as error:
        raise ModelRefused(
            f"{source} is not a valid file of golden data: {_words(error)}.",
            next_action=FETCH_AGAIN,
        ) from error
    count = len(arrays) // 3
    names = {f"{part}_{i:02d}" for i in range(count) for part in ("picture", "output", "scores")}
    if not 1 <= count <= MAX_PICTURES or set(arrays) != names:
        raise ModelRefused(
            f"{source} does not have 1 to {MAX_PICTURES} pictures, each with output and scores.",
            next_action=FETCH_AGAIN,
        )
    golden = [
        GoldenPicture(*(arrays[f"{part}_{i:02d}"] for part in ("picture", "output", "scores")))
        for i in range(count)
    ]
    for index, entry in enumerate(golden):
        _check_entry(card, entry, f"{source}, picture {index}")
    return golden


def golden_tiles(bundle: Bundle) -> Iterator[NDArray[np.generic]]:
    """Every tile of the golden pictures, as the model takes it. Raises ModelRefused."""
    left_bytes = MAX_TILE_BYTES
    for entry in read_golden(bundle):
        height, width = entry.picture.shape[:2]
        try:
            tiles = Pipeline(bundle.card, width=width, height=height).tiles(entry.picture)
        except InferenceFailed as error:
            raise _failed(bundle, error) from error
        for tile in tiles:
            left_bytes -= tile.nbytes
            if left_bytes < 0:
                raise ModelRefused(
                    f"{bundle.directory / GOLDEN_FILE} needs more than {MAX_TILE_BYTES >> 20} MiB "
                    "of tiles.",
                    next_action="Make the bundle again with fewer or smaller golden pictures.",
                )
            yield tile


def compare_with_golden(
    card: Card, golden: Sequence[GoldenPicture], engine: Engine
) -> GoldenReport:
    """Recompute every golden picture on an engine. Raises InferenceFailed."""
    steps, error = 0, 0.0
    for entry in golden:
        outputs, scores = _look(card, entry.picture, engine)
        if outputs.shape != entry.outputs.shape:
            raise InferenceFailed(f"{len(entry.outputs)} tiles expected, got {len(outputs)}.")
        difference = outputs.astype(np.int16) - entry.outputs.astype(np.int16)
        steps = max(steps, int(np.abs(difference).max()))
        error = max(error, float(np.abs(scores - entry.scores).max()))
    return GoldenReport(
        pictures=len(golden), max_output_steps=steps, max_score_error=round(error, 9)
    )


def check_golden(bundle: Bundle, engine: Engine) -> GoldenReport:
    """Recompute the golden pictures on the engine in use.

    Raises:
        ModelRefused: it strays further than the certificate allows, or fails.
    """
    allowed = bundle.certificate.tolerance
    try:
        report = compare_with_golden(bundle.card, read_golden(bundle), engine)
    except InferenceFailed as error:
        raise _failed(bundle, error) from error
    if (
        report.max_output_steps > allowed.output_steps
        or report.max_score_error > allowed.score_error
    ):
        raise ModelRefused(
            f"{bundle.card.name} gives different results on this machine than certified: "
            f"outputs differ by up to {report.max_output_steps} steps "
            f"({allowed.output_steps} allowed), scores by up to {report.max_score_error:.4f} "
            f"({allowed.score_error:g} allowed), with {engine.description}.",
            next_action="Choose another engine.runtime, or certify the model for this machine.",
        )
    return report


def _failed(bundle: Bundle, error: InferenceFailed) -> ModelRefused:
    return ModelRefused(f"{bundle.card.name}: the golden check failed: {error.message}")


def _look(
    card: Card, picture: NDArray[np.uint8], engine: Engine
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Outputs of every tile of the picture, and its scores."""
    height, width = picture.shape[:2]
    pipeline = Pipeline(card, width=width, height=height)
    outputs = engine.run(pipeline.tiles(picture))
    return np.stack(outputs), np.array(pipeline.score(outputs).scores, np.float64)


def _words(error: BaseException) -> str:
    """Of an error of a library: one line of printable text, and not too much of it."""
    return to_one_line(str(error)).rstrip(".") or type(error).__name__


def _check_entry(card: Card, entry: GoldenPicture, place: str) -> None:
    channels = entry.picture.shape[2:]
    is_picture = entry.picture.ndim in (2, 3) and (
        channels == (2,) if card.input.reference else channels in ((), (3,))
    )
    fits = (
        is_picture
        and entry.picture.dtype == np.uint8
        and entry.picture.size > 0
        and entry.outputs.dtype == card.output.dtype
        and entry.outputs.shape[1:] == card.output.shape[1:]
        and entry.scores.dtype == np.float64
        and entry.scores.shape == (len(card.defect_classes),)
        and bool(np.isfinite(entry.scores).all())
    )
    if not fits:
        raise ModelRefused(f"{place}: arrays do not match the card.", next_action=FETCH_AGAIN)


def _load_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Arrays of an untrusted npz: no pickles, and no more memory than its files declare."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > 3 * MAX_PICTURES:
            raise ValueError(f"{len(entries)} arrays")
        if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
            raise ValueError(f"more than {MAX_UNPACKED_BYTES >> 20} MiB unpacked")
        for entry in entries:
            if entry.compress_type not in _COMPRESSIONS or entry.flag_bits & _ENCRYPTED:
                raise ValueError("an array in an unexpected format")
            with archive.open(entry) as file:
                content = file.read(entry.file_size + 1)
            arrays[entry.filename.removesuffix(".npy")] = _load_array(content)
    return arrays


def _load_array(content: bytes) -> NDArray[Any]:
    """One ``.npy`` of format 1.0; its header must state exactly the bytes that follow it.

    The header is a Python expression, which numpy evaluates. Ours holds one of three types and
    plain numbers, so it is matched instead.
    """
    found = _HEADER.match(content)
    if found is None:
        raise ValueError("an array that is not uint8, int8 or float64 in C order")
    dtype = np.dtype(found["dtype"].decode())
    shape = tuple(map(int, found["shape"].replace(b",", b" ").split()))
    length = int.from_bytes(found["length"], "little")
    wanted = math.prod(shape) * dtype.itemsize
    if found.end() != _MAGIC_BYTES + length or wanted != len(content) - found.end():
        raise ValueError("an array whose size differs from its header")
    return np.frombuffer(content, dtype, offset=found.end()).reshape(shape)
