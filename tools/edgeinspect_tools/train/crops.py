"""Which squares of which pictures a step learns from, and how cells of the map are labelled."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.train.augment import cut_square, pasted, relit, turned
from edgeinspect_tools.train.samples import UNKNOWN, Box, Picture, Pictures
from edgeinspect_tools.train.training_settings import TrainSettings

_AT_A_HARD_SPOT = 0.4
_SHOWN_PX = 16

Arrays = tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]
"""The network's inputs of one step, and the targets of the loss."""

Vary = Callable[
    [NDArray[np.uint8], NDArray[np.uint8], np.random.Generator],
    tuple[NDArray[np.uint8], NDArray[np.uint8]],
]
"""What else a crop and its labels could have looked like; both keep their shapes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops of one step.

    Attributes:
        pixels: uint8 (batch, crop, crop, channels).
        targets: float32 (batch, cells, cells, classes): see ``cell_targets``.
        weights: float32 (batch, cells, cells, 1), 0 where nobody knows.
        bags: float32 (batch, classes + 1): see ``losses.bag_loss``.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    targets: NDArray[np.float32] = field(repr=False)
    weights: NDArray[np.float32] = field(repr=False)
    bags: NDArray[np.float32] = field(repr=False)


class CropSource:
    """Batches by number: the same number, seed and hard spots give the same batch.

    Args:
        pictures: of the training split.
        classes: number of defect classes.
        vary: what a product's pictures vary in beyond the usual; applied to every crop.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        classes: int,
        settings: TrainSettings,
        vary: Vary | None = None,
    ) -> None:
        self._pictures = pictures
        self._classes = classes
        self._settings = settings
        self._vary = vary
        self._by_class = numbers_by_class(pictures, classes)
        self._good = [n for n, sample in enumerate(pictures.samples) if sample.index is None]
        self.hard_spots: dict[int, list[tuple[int, int]]] = {}

    @property
    def settings(self) -> TrainSettings:
        """With the crops' size as it is."""
        return self._settings

    def batch(self, number: int) -> Batch:
        """The batch of one step."""
        rng = np.random.default_rng((self._settings.seed, number))
        crops = [self._crop(rng) for _ in range(self._settings.batch)]
        labels = np.stack([marks for _, marks, _ in crops])
        return Batch(
            np.stack([pixels for pixels, _, _ in crops]),
            *learned(labels, [index for _, _, index in crops], self._classes, self._settings),
        )

    def _crop(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int | None]:
        filled = [numbers for numbers in self._by_class if numbers]
        if filled and (not self._good or rng.random() >= self._settings.good_share):
            numbers = filled[int(rng.integers(len(filled)))]
            number = numbers[int(rng.integers(len(numbers)))]
            # Everything in a picture that has defects is worth seeing, its sound parts too.
            pixels, labels = self._cut(number, rng, at_defect=rng.random() < 0.85)
        else:
            number = self._good_number(rng)
            pixels, labels = self._cut(number, rng, at_defect=False)
            if filled and rng.random() < self._settings.paste:
                numbers = filled[int(rng.integers(len(filled)))]
                donor = self._cut(numbers[int(rng.integers(len(numbers)))], rng, at_defect=True)
                if not (donor[1] == UNKNOWN).any():
                    pixels, labels = pasted(pixels, labels, *donor)
        if self._settings.turns:
            pixels, labels = turned(pixels, labels, rng, grain=self._settings.grain)
        if self._vary is not None:
            pixels, labels = self._vary(pixels, labels, rng)
        index = self._pictures.samples[number].index
        return relit(pixels, rng, self._settings.strength), labels, index

    def _good_number(self, rng: np.random.Generator) -> int:
        hard = list(self.hard_spots)
        if hard and rng.random() < _AT_A_HARD_SPOT:
            return hard[int(rng.integers(len(hard)))]
        return self._good[int(rng.integers(len(self._good)))]

    def _cut(
        self, number: int, rng: np.random.Generator, *, at_defect: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        picture = self._pictures[number]
        side = self._settings.crop_px
        spots = self.hard_spots.get(number, [])
        if at_defect:
            boxes = self._pictures.samples[number].boxes
            spots = [_within(boxes, rng)] if boxes else _defect_spots(picture, rng)
        elif spots and rng.random() < 0.3:
            spots = []
        if spots:
            x, y = spots[int(rng.integers(len(spots)))]
            reach = 0.38 * side
            centre = (x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach))
        else:
            height, width = picture.labels.shape
            centre = (rng.uniform(0, width), rng.uniform(0, height))
        inside = _kept_inside(centre, picture.labels.shape, side)
        wobble = min(1.0, self._settings.strength)
        return cut_square(picture.pixels, picture.labels, inside, side, rng, wobble=wobble)


def learned(
    labels: NDArray[np.uint8],
    indices: Sequence[int | None],
    classes: int,
    settings: TrainSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Targets, weights and bags of label maps (n, h, w) cut from pictures of these classes."""
    return (
        cell_targets(labels, classes, settings.stride_px, gain=settings.coverage_gain),
        cell_weights(labels, settings.stride_px),
        bag_labels(indices, labels, classes, located=settings.picture_loss),
    )


def cell_targets(
    labels: NDArray[np.uint8], classes: int, stride_px: int, *, gain: float
) -> NDArray[np.float32]:
    """The share of each cell that is defective, times ``gain`` and at most 1.

    Args:
        labels: (n, h, w); unknown pixels count as good here.

    Returns:
        float32 (n, h', w', classes).
    """
    n, height, width = labels.shape
    cells = labels.reshape(n, height // stride_px, stride_px, width // stride_px, stride_px)
    planes = [(cells == index + 1).mean(axis=(2, 4), dtype=np.float32) for index in range(classes)]
    share = np.stack(planes, axis=-1) * np.float32(gain)
    return np.asarray(np.minimum(share, 1), np.float32)


def cell_weights(labels: NDArray[np.uint8], stride_px: int) -> NDArray[np.float32]:
    """1 for cells whose label is known, 0 for the others: float32 (n, h', w', 1)."""
    known = labels[:, stride_px // 2 :: stride_px, stride_px // 2 :: stride_px] != UNKNOWN
    return np.asarray(known[..., None], np.float32)


def bag_labels(
    indices: Sequence[int | None],
    labels: NDArray[np.uint8],
    classes: int,
    *,
    located: float = 0.0,
) -> NDArray[np.float32]:
    """What ``losses.bag_loss`` needs.

    Crops with unknown pixels count as one each, with their picture's class; others count as
    ``located``, with the classes that they show.
    """
    bags = np.zeros((len(indices), classes + 1), np.float32)
    for row, index in enumerate(indices):
        if index is not None and (labels[row] == UNKNOWN).any():
            bags[row, index] = bags[row, -1] = 1
        else:
            shown = np.bincount(labels[row].ravel(), minlength=classes + 1)[1 : classes + 1]
            bags[row] = [*(shown >= _SHOWN_PX), located]
    return bags


@contextmanager
def prepared(
    make: Callable[[int], Arrays], first: int, *, ahead: int = 4
) -> Iterator[Iterator[Arrays]]:
    """``make(first)`` and so on, made by a thread while the network learns from earlier ones."""
    ready: queue.Queue[Arrays | BaseException] = queue.Queue(maxsize=ahead)
    ended = threading.Event()

    def work() -> None:
        number = first
        while not ended.is_set():
            try:
                item: Arrays | BaseException = make(number)
            except BaseException as error:  # noqa: BLE001  raised again where batches are taken
                item = error
            while not ended.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            number += 1

    def taken() -> Iterator[Arrays]:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="crops", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        ended.set()
        thread.join()


def numbers_by_class(pictures: Pictures, classes: int) -> list[list[int]]:
    """The pictures that show each class; with boxes a picture may show several."""
    by_class: list[list[int]] = [[] for _ in range(classes)]
    for number, sample in enumerate(pictures.samples):
        kinds = {box.kind for box in sample.boxes}
        if not kinds and sample.index is not None:
            kinds = {sample.index}
        for kind in kinds:
            by_class[kind].append(number)
    return by_class


def _within(boxes: Sequence[Box], rng: np.random.Generator) -> tuple[int, int]:
    """A pixel of a box that is drawn among them."""
    box = boxes[int(rng.integers(len(boxes)))]
    return box.x + int(rng.integers(box.width)), box.y + int(rng.integers(box.height))


def _defect_spots(picture: Picture, rng: np.random.Generator) -> list[tuple[int, int]]:
    """One pixel of a defect that is drawn among the picture's defects."""
    marked = ((picture.labels > 0) & (picture.labels != UNKNOWN)).view(np.uint8)
    count, regions = cv2.connectedComponents(marked)
    if count < 2:
        return []
    rows, columns = np.nonzero(regions == int(rng.integers(1, count)))
    chosen = int(rng.integers(rows.size))
    return [(int(columns[chosen]), int(rows[chosen]))]


def _kept_inside(
    centre: tuple[float, float], shape: tuple[int, int], side_px: int
) -> tuple[float, float]:
    """The centre moved so that the square stays inside the picture.

    If the picture is smaller, the square lies at its top left corner, as a station's tile does.
    """
    moved = []
    for value, extent in zip(centre, (shape[1], shape[0]), strict=True):
        half = side_px / 2
        moved.append(max(half, min(value, extent - half)))
    return moved[0], moved[1]
