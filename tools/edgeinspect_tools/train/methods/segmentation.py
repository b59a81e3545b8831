"""Training of a score map, from masks, from boxes, or from the pictures' labels alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from edgeinspect.bundle.align import DEFAULT_AGREEMENT
from edgeinspect.bundle.card import Role
from edgeinspect.bundle.card import Task as CardTask
from edgeinspect.line.scores import Activation
from edgeinspect_tools.quantize import float_tflite, open_model
from edgeinspect_tools.quantize.int8 import run_tflite
from edgeinspect_tools.train.checkpoint import Progress
from edgeinspect_tools.train.choice import Scored, scored_map
from edgeinspect_tools.train.crops import Arrays, CropSource, Vary, prepared
from edgeinspect_tools.train.fit import Task, fit
from edgeinspect_tools.train.head import Logit
from edgeinspect_tools.train.losses import bag_loss, map_loss
from edgeinspect_tools.train.maps import (
    MapMaker,
    look,
    look_at_all,
    real_input,
    run_keras,
    worth,
)
from edgeinspect_tools.train.methods.training_method import (
    LabelledPictures,
    Learned,
    TrainingJob,
    TrainingMethod,
    check_both_kinds,
    check_first_weights,
    check_references,
    described_input,
)
from edgeinspect_tools.train.networks import segmenter, set_pooled_head, split_at_frozen
from edgeinspect_tools.train.pooled_head import fit_pooled_head
from edgeinspect_tools.train.samples import Pictures, Sample, spread
from edgeinspect_tools.train.tensorflow_setup import prepare_tensorflow
from edgeinspect_tools.train.tile_source import Features, TileSource, run_split
from edgeinspect_tools.train.training_settings import TrainSettings
from edgeinspect_tools.train.weights import load_encoder

_GOOD_PICTURES_SEARCHED = 24
_SPOTS_KEPT = 200
_LARGEST_BAG_PX = 448
_PIXELS_A_STEP = 8 * 192 * 192

_MAX_WHOLE_TILES = 2000
_WHOLE_TILES_A_MINUTE = 100
"""Of training: their features take about a tenth of its time more."""


Given = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
"""What a network is fed with, made of real crops."""


class Segmentation(TrainingMethod):
    """Trains a network that gives a score map."""

    @override
    def check(self, pictures: LabelledPictures, settings: TrainSettings) -> None:
        check_both_kinds(pictures)
        check_first_weights(settings)
        check_references(pictures, settings)

    @override
    def train(self, job: TrainingJob) -> Learned:
        return train_map(job)

    @override
    def score(
        self, learned: Learned, samples: Sequence[Sample], settings: TrainSettings
    ) -> list[Scored]:
        pictures = read_pictures(samples, settings)
        maker = MapMaker(run_tflite(learned.float_model), settings)
        return [scored_map(seen) for seen in look_at_all(maker, pictures, range(len(pictures)))]


def train_map(
    job: TrainingJob,
    *,
    value_of: Callable[[MapMaker], tuple[float, dict[str, float]]] | None = None,
    vary: Vary | None = None,
) -> Learned:
    """Train a segmentation network.

    Args:
        value_of: what early stopping maximises, with named values for the curves, where it is
            not ``Worth.value`` on the validation pictures.
        vary: see ``CropSource``; a frozen encoder's features cannot be varied.
    """
    settings, progress, say = job.settings, job.progress, job.say
    prepare_tensorflow(settings)
    classes = len(job.pictures.classes)
    channels = (1 if settings.gray else 3) * (2 if settings.reference else 1)
    pictures = read_pictures(job.pictures.training, settings)
    checked = read_pictures(job.pictures.validation, settings)
    numbers = spread(checked.samples, settings.max_validation)
    norm = settings.weights == "none"
    of_places = replace(settings, pooled_head=0.0)
    model = segmenter(of_places, channels=channels, classes=classes, side_px=None, norm=norm)
    if not norm:
        load_encoder(model, settings)
    parts = split_at_frozen(model, settings)
    tiles: TileSource | None = None
    if parts is not None and settings.frozen_encoder:
        encode = frozen_features(parts[0], settings.tile_px)
        tiles = TileSource(
            pictures,
            classes=classes,
            settings=settings,
            encode=encode,
            features=job.features or Features(),
        )
        learner = _of_tiles(tiles, encode, parts[1], settings)
    else:
        crops = CropSource(
            pictures, classes=classes, settings=crop_settings(pictures, settings), vary=vary
        )
        crops.hard_spots = progress.hard_spots
        learner = _of_crops(crops, model, parts, pictures)
    maker = learner.maker

    def validate() -> tuple[float, dict[str, float]]:
        if value_of is not None:
            return value_of(maker)
        found = worth(look_at_all(maker, checked, numbers))
        curve = {"auroc": found.auroc, "iou": found.iou}
        return found.value, {name: value for name, value in curve.items() if value is not None}

    def loss(targets: Any, weights: Any, bags: Any, logits: Any) -> Any:
        return map_loss(targets, weights, logits) + bag_loss(bags, logits)

    task = Task(
        model=learner.trained,
        loss=loss,
        batches=lambda first: prepared(learner.make, first),
        validate=validate,
        refresh=learner.refresh,
    )
    fit(task, settings, progress, say=say, keep=job.keep)
    head = None
    if tiles is not None and settings.pooled_head:
        most = min(_MAX_WHOLE_TILES, math.ceil(_WHOLE_TILES_A_MINUTE * settings.minutes))
        head = fit_pooled_head(tiles.whole_tiles(most), seed=settings.seed)
        worked = f"AUROC {head.auroc:.4f} held out" if head else "they do not help"
        say(done=1.0, text=f"frozen features, pooled: {worked}")
    float_model = export(model, settings, channels, classes, head=head)
    notes = {}
    if head is not None:
        notes["pooled_head"] = {"auroc": round(head.auroc, 5), "regularisation": head.strength}
    return Learned(float_model, described_map(job.pictures, settings) | notes)


def read_pictures(samples: Sequence[Sample], settings: TrainSettings) -> Pictures:
    """Pictures as the settings want them read."""
    return Pictures(
        samples, gray=settings.gray, reference=settings.reference, box_fill=settings.box_fill
    )


def described_map(pictures: LabelledPictures, settings: TrainSettings) -> dict[str, Any]:
    """The part of ``run.json`` about a segmentation model."""
    described = {
        **described_input(settings),
        "fit": "tiles",
        "tile_height_px": settings.tile_px,
        "tile_width_px": settings.tile_px,
        "tile_overlap_px": settings.tile_overlap_px,
    }
    if settings.reference:
        described |= described_alignment(pictures.reference_search_px)
    return {
        "task": CardTask.SEGMENTATION.value,
        "classes": [{"name": name, "role": Role.DEFECT.value} for name in pictures.classes],
        "input": described,
        "output": {"activation": Activation.SIGMOID.value, "stride_px": settings.stride_px},
        "box_fill": settings.box_fill,
    }


def described_alignment(search_px: int) -> dict[str, Any]:
    """How the station lays the reference on a picture."""
    agreement = DEFAULT_AGREEMENT if search_px else 0.0
    return {"reference_search_px": search_px, "reference_agreement": agreement}


@dataclass(frozen=True, slots=True)
class _Learner:
    """What a network is trained with.

    Attributes:
        trained: the part of it that is.
        make: the arrays of a step by its number.
        maker: maps of whole pictures by the network as it is.
        refresh: looks for hard spots.
    """

    trained: Any
    make: Callable[[int], Arrays]
    maker: MapMaker
    refresh: Callable[[Progress], None]


def _of_tiles(tiles: TileSource, encode: Given, decoder: Any, settings: TrainSettings) -> _Learner:
    """Nothing of the encoder is trained."""
    maker = MapMaker(run_split(encode, decoder), settings)
    return _Learner(decoder, tiles.batch, maker, lambda _: None)


def _of_crops(
    crops: CropSource, model: Any, parts: tuple[Any, Any] | None, pictures: Pictures
) -> _Learner:
    """The network, or what of it lies above its frozen part, learns from crops."""
    settings = crops.settings
    maker = MapMaker(run_keras(model), settings)
    trained: Any = model
    given: Given = whole_input
    if parts is not None:
        trained, given = parts[1], frozen_features(parts[0], settings.crop_px)

    def make(number: int) -> Arrays:
        batch = crops.batch(number)
        return given(real_input(batch.pixels)), [batch.targets, batch.weights, batch.bags]

    def refresh(state: Progress) -> None:
        find_hard_spots(maker, crops, pictures, state, settings)

    return _Learner(trained, make, maker, refresh)


def whole_input(real: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Nothing is frozen: the network learns from the pictures themselves."""
    return [real]


def frozen_features(lower: Any, side_px: int) -> Given:
    """Features of an encoder's frozen part, by the fast kernels that the station has too.

    TensorFlow takes several times longer for these layers, which training never changes. The
    interpreter is one, and threads take turns.
    """
    import keras

    fixed = keras.Input((side_px, side_px, lower.input.shape[-1]), name="picture")
    interpreter = open_model(float_tflite(keras.Model(fixed, lower(fixed))))
    source = interpreter.get_input_details()[0]["index"]
    turn = threading.Lock()
    sinks = sorted(interpreter.get_output_details(), key=lambda details: -int(details["shape"][1]))

    def features(real: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: list[list[NDArray[np.float32]]] = [[] for _ in sinks]
        for crop in real:
            with turn:
                interpreter.set_tensor(source, crop[None])
                interpreter.invoke()
                for level, sink in zip(found, sinks, strict=True):
                    level.append(np.asarray(interpreter.get_tensor(sink["index"]), np.float32)[0])
        return [np.stack(level) for level in found]

    return features


def export(
    model: Any,
    settings: TrainSettings,
    channels: int,
    classes: int,
    *,
    head: Logit | None = None,
) -> bytes:
    """The float model at the station's tile size.

    Args:
        head: what ``settings.pooled_head`` weighs, which ``model`` was trained without; None
            leaves it out.
    """
    whole = segmenter(
        settings if head is not None else replace(settings, pooled_head=0.0),
        channels=channels,
        classes=classes,
        side_px=settings.tile_px,
        norm=settings.weights == "none",
    )
    for layer in (layer for layer in model.layers if layer.weights):
        whole.get_layer(layer.name).set_weights(layer.get_weights())
    if head is not None:
        set_pooled_head(whole, head.weights, head.bias, settings.pooled_head)
    return float_tflite(whole)


def find_hard_spots(
    maker: MapMaker,
    source: CropSource,
    pictures: Pictures,
    progress: Progress,
    settings: TrainSettings,
) -> None:
    """Remember where good training pictures look most like defects; those are shown more often.

    Another share of the good pictures is searched each time.
    """
    good = [n for n, sample in enumerate(pictures.samples) if sample.index is None]
    if not good:
        return
    rng = np.random.default_rng((settings.seed, progress.step, 1))
    drawn = rng.choice(good, min(_GOOD_PICTURES_SEARCHED, len(good)), replace=False)
    spots = dict(progress.hard_spots)
    for number in map(int, drawn):
        seen = look(maker, pictures[number], settings.stride_px)
        spots.pop(number, None)
        if float(seen.ranked[:, 0].max()) > 0.05:
            spots[number] = [seen.hard_spot]
    kept = dict(list(spots.items())[-_SPOTS_KEPT:])
    progress.hard_spots = kept
    source.hard_spots = kept


def crop_settings(pictures: Pictures, settings: TrainSettings) -> TrainSettings:
    """Crops as large as the pictures where only the picture's label is known.

    A crop that may miss the defect would teach that defects look like good surface. The batch
    shrinks so that a step costs the same.
    """
    unknown = [n for n, sample in enumerate(pictures.samples) if not sample.located]
    if not unknown:
        return settings
    largest = max(max(pictures[number].labels.shape) for number in unknown[:20])
    side = min(_LARGEST_BAG_PX, -(-largest // 32) * 32)
    side = max(settings.crop_px, side)
    return replace(settings, crop_px=side, batch=max(2, _PIXELS_A_STEP // side**2))
