"""Which tiles the quantizer sees: such that the whole range of scores is among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import Card
from edgeinspect_tools.quantize.gap import Labelled
from edgeinspect_tools.quantize.real import FloatModel

MAX_TILES = 96
_RANK_SHARE = 0.5


def calibration_samples(
    model: FloatModel, card: Card, pictures: Sequence[Labelled], *, most: int = MAX_TILES
) -> list[NDArray[np.float32]]:
    """Inputs for the float model, each with the batch axis.

    Half of the tiles are spread evenly over the ranks of their scores, the others over the scores
    themselves, so that the few defects are as well represented as the many sound places; one tile
    more holds every grey level, so that no pixel is ever clipped.

    Raises:
        CameraFault: a picture cannot be read.
    """
    places: list[tuple[Labelled, int]] = []
    scores: list[float] = []
    for picture in pictures:
        for number, output in enumerate(model.outputs(model.samples(picture.region(card)))):
            places.append((picture, number))
            scores.append(float(output[..., card.defect_channels].max()))
    chosen = spread_over_scores(np.array(scores), most=most)
    wanted: dict[Labelled, list[int]] = {}
    for at in chosen:
        wanted.setdefault(places[at][0], []).append(places[at][1])
    samples = [_every_grey_level(card)]
    for picture, numbers in wanted.items():
        tiles = model.samples(picture.region(card))
        samples.extend(tiles[number] for number in numbers)
    return samples


def spread_over_scores(scores: NDArray[np.float64], *, most: int) -> list[int]:
    """At most ``most`` positions that cover the scores: lowest and highest are among them."""
    if len(scores) <= most:
        return list(range(len(scores)))
    order = np.argsort(scores, kind="stable")
    by_rank = order[np.linspace(0, len(scores) - 1, round(most * _RANK_SHARE)).round().astype(int)]
    chosen = dict.fromkeys(int(at) for at in by_rank)
    for wish in np.linspace(scores.min(), scores.max(), most - len(chosen)):
        nearest = order[np.argsort(np.abs(scores[order] - wish), kind="stable")]
        chosen.setdefault(next(int(at) for at in nearest if int(at) not in chosen))
    return sorted(chosen)


def _every_grey_level(card: Card) -> NDArray[np.float32]:
    shape = card.input.shape
    levels = np.resize(np.arange(256, dtype=np.float32), shape[1:3])[None, :, :, None]
    real = (levels - np.asarray(card.input.mean)) / np.asarray(card.input.std)
    every_channel = np.broadcast_to(real, (*shape[:3], card.input.channels))
    return every_channel.astype(np.float32).reshape(shape)
