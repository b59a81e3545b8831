"""Training of the shipped model: rendered tiles in, the best weights on validation parts out."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Full
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect.part import Region
from edgeinspect.sim.renderer import PART_ROI, RenderedPart
from edgeinspect_tools.shipped.sim_surface.sim_data import (
    CELLS,
    CROP_PX,
    CROPS_PER_PICTURE,
    OVERLAP_PX,
    STRIDE_PX,
    TILE_PX,
    VALIDATION_SEED,
    TileBatch,
    labelled_part,
    tile_batches,
)
from edgeinspect_tools.shipped.sim_surface.sim_model import build_model, loss, real_input

_PICTURES_PER_BATCH = 4
_PEAK_RATE = 2e-3
_WARM_UP_STEPS = 100
_CHECK_EVERY_STEPS = 400
_CHECK_PARTS = 150
_CHECKED_SIZE_PX = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What the card's provenance says of the training."""

    steps: int
    crops: int
    minutes: float
    validation_loss: float


def train(
    weights_file: Path,
    *,
    steps: int,
    minutes: float,
    say: Callable[[str], None],
    resume: Path | None = None,
    first_part: int = 0,
) -> TrainingReport:
    """Train until ``steps`` or ``minutes`` are used up; the best weights end in ``weights_file``.

    Best means the least ``part_loss`` on validation parts. ``resume`` continues from
    earlier weights at half the learning rate; ``first_part`` keeps it off the parts seen before.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    model, whole = build_model(CROP_PX), build_model(TILE_PX)
    peak_rate = _PEAK_RATE
    if resume is not None:
        model.load_weights(resume)
        peak_rate = _PEAK_RATE / 2
    optimizer = keras.optimizers.Adam(peak_rate, global_clipnorm=1.0)

    @tf.function  # type: ignore[untyped-decorator]
    def step(pixels: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(targets, weights, model(pixels, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    def checked_loss() -> float:
        whole.set_weights(model.get_weights())
        return part_loss(whole, checked)

    checked = validation_parts(_CHECK_PARTS)
    best, done, mean_loss = math.inf, 0, 0.0
    start = time.monotonic()
    with _batches(first_part) as batches:
        while done < steps:
            used = max(done / steps, (time.monotonic() - start) / (60 * minutes))
            if used >= 1:
                break
            optimizer.learning_rate.assign(peak_rate * _rate(done, used))
            batch = next(batches)
            value = step(real_input(batch.pixels), batch.targets, batch.weights)
            mean_loss += (float(value) - mean_loss) / min(done + 1, 100)
            done += 1
            if done % _CHECK_EVERY_STEPS == 0 and used > 0.5:
                now = checked_loss()
                say(f"step {done}: loss {mean_loss:.3f}, validation loss {now:.3f}, {used:.0%}")
                if now < best:
                    best = now
                    model.save_weights(weights_file)
    now = checked_loss()
    if now < best:
        best = now
        model.save_weights(weights_file)
    spent = (time.monotonic() - start) / 60
    say(f"{done} steps in {spent:.1f} min; validation loss {now:.3f}, at best {best:.3f}")
    return TrainingReport(
        steps=done,
        crops=done * _PICTURES_PER_BATCH * CROPS_PER_PICTURE,
        minutes=round(spent, 1),
        validation_loss=round(best, 4),
    )


def validation_parts(count: int) -> list[RenderedPart]:
    """``count`` good and ``count`` defective parts."""
    return [
        labelled_part(VALIDATION_SEED, number, defective=number % 2 == 1)
        for number in range(2 * count)
    ]


def part_loss(model: Any, parts: list[RenderedPart]) -> float:
    """How well one threshold can part defects from good parts; 0 is perfect.

    The least, over thresholds t in logits, of mean(softplus(t - highest logit at a defect of
    4 px or more)) + mean(softplus(highest logit of a good part - t)). Smooth in the scores, so
    that a few parts do not make one set of weights look better than another by chance.
    """
    hits, alarms = [], []
    for part in parts:
        logits = logit_map(model, part.pixels).max(axis=2)
        if not part.defects:
            alarms.append(float(logits.max()))
        hits += [_at(logits, d.box) for d in part.defects if d.size_px >= _CHECKED_SIZE_PX]
    return min(
        float(
            np.logaddexp(0, t - np.array(hits)).mean()
            + np.logaddexp(0, np.array(alarms) - t).mean()
        )
        for t in np.arange(-4.0, 4.0, 0.25)
    )


def _at(logits: NDArray[np.float32], box: Region) -> float:
    """The highest logit in the cells that the box covers or touches."""
    left = max(0, (box.x - PART_ROI.x) // STRIDE_PX - 1)
    top = max(0, (box.y - PART_ROI.y) // STRIDE_PX - 1)
    right = (box.x + box.width - PART_ROI.x) // STRIDE_PX + 2
    bottom = (box.y + box.height - PART_ROI.y) // STRIDE_PX + 2
    return float(logits[top:bottom, left:right].max(initial=-20.0))


def roi_tiles(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The station's tiles of PART_ROI, row by row: uint8 (6, TILE_PX, TILE_PX, 1)."""
    step = TILE_PX - OVERLAP_PX
    tiles = [
        pixels[PART_ROI.y + y : PART_ROI.y + y + TILE_PX, PART_ROI.x + x : PART_ROI.x + x + TILE_PX]
        for y in range(0, PART_ROI.height - OVERLAP_PX, step)
        for x in range(0, PART_ROI.width - OVERLAP_PX, step)
    ]
    return np.stack(tiles)[..., None]


def logit_map(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The float model's logits over PART_ROI, stitched as the station does: the maximum."""
    logits = np.asarray(model(real_input(roi_tiles(pixels)), training=False))
    height, width = PART_ROI.height // STRIDE_PX, PART_ROI.width // STRIDE_PX
    stitched = np.full((height, width, logits.shape[-1]), -np.inf, dtype=np.float32)
    step = (TILE_PX - OVERLAP_PX) // STRIDE_PX
    columns = (PART_ROI.width - OVERLAP_PX) // (TILE_PX - OVERLAP_PX)
    for index, tile in enumerate(logits):
        y, x = (index // columns) * step, (index % columns) * step
        place = stitched[y : y + CELLS, x : x + CELLS]
        np.maximum(place, tile, out=place)
    return stitched


def _rate(done: int, used: float) -> float:
    """Share of the peak learning rate: warm up, then half a cosine."""
    warm_up = min(1.0, (done + 1) / _WARM_UP_STEPS)
    return warm_up * (0.5 + 0.5 * math.cos(math.pi * used)) + 1e-3


@contextmanager
def _batches(first_part: int) -> Iterator[Iterator[TileBatch]]:
    """Batches rendered by another process, in a fixed order."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue(maxsize=4)
    worker = context.Process(target=_render_batches, args=(queue, first_part), daemon=True)
    worker.start()
    try:
        yield iter(queue.get, None)
    finally:
        worker.terminate()
        worker.join()


def _render_batches(queue: Any, first_part: int) -> None:
    """Fill the queue until the process that trains is gone, however it ended."""
    cv2.setNumThreads(1)
    trainer = multiprocessing.parent_process()
    for batch in tile_batches(first_part=first_part, pictures=_PICTURES_PER_BATCH):
        while True:
            if trainer is None or not trainer.is_alive():
                queue.cancel_join_thread()
                return
            with suppress(Full):
                queue.put(batch, timeout=5)
                break
