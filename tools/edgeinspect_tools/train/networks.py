"""The networks: fully convolutional, made of operators that int8 hardware runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect_tools.train.encoders import ENCODERS, STRIDES_PX, encoder_levels
from edgeinspect_tools.train.training_settings import Network, TrainSettings

DEFECTS_ARE_RARE = -4.0
"""First bias of every defect logit."""

_COARSEST = 96
_POOLED_PART = "pooled_"


def segmenter(
    settings: TrainSettings, *, channels: int, classes: int, side_px: int | None, norm: bool
) -> Any:
    """A Keras model from real (n, side, side, channels) to logits at ``stride_px``.

    Args:
        side_px: None for a model that takes any size.
        norm: batch norms in the encoder; without them it has biases, for loaded weights.
    """
    import keras

    picture = keras.Input((side_px, side_px, channels), name="picture")
    levels: dict[int, Any] = {}
    if settings.network.has_encoder:
        levels = encoder_levels(picture, settings, norm=norm)
        features = _decoded(levels, settings.stride_px)
    else:
        features = _plain(picture, settings)
    bias = keras.initializers.Constant(DEFECTS_ARE_RARE)
    logits = keras.layers.Conv2D(classes, 1, bias_initializer=bias, name="logits")(features)
    if settings.pooled_head:
        logits = _less_where_sound(logits, [levels[stride] for stride in tap_strides(settings)])
    return keras.Model(picture, logits, name=settings.network.value)


def classifier(
    settings: TrainSettings, *, channels: int, classes: int, shape_px: tuple[int, int], norm: bool
) -> Any:
    """A Keras model from real (n, height, width, channels) to logits (n, classes).

    The head sees the mean, the maximum and the spread of every feature of several levels: a small
    defect moves a maximum, not a mean.
    """
    import keras
    from keras import layers

    picture = keras.Input((*shape_px, channels), name="picture")
    if settings.network.has_encoder:
        levels = encoder_levels(picture, settings, norm=norm)
        taps = [levels[stride] for stride in (4, 8, 16, 32) if stride in levels]
    else:
        taps = [_plain(picture, settings)]
    pooled = [layers.Dropout(0.2)(value) for tap in taps for value in _pooled(tap)]
    parts = layers.Concatenate()(_weighed(pooled, classes))
    total = layers.Dense(classes, name="logits")
    model = keras.Model(picture, total(layers.Flatten()(parts)), name="classifier")
    total.set_weights([_sums(len(pooled), classes), np.zeros(classes, np.float32)])
    return model


def pooled_features(model: Any) -> Any:
    """The part of a classifier that its head is fitted to: pictures to features (n, f)."""
    import keras
    from keras import layers

    pooled = [layers.Flatten()(part.input) for part in _pooled_parts(model)]
    return keras.Model(model.input, layers.Concatenate()(pooled))


def set_classifier_head(
    model: Any, weights: NDArray[np.float32], bias: NDArray[np.float32]
) -> None:
    """Fill in the head: weights (f, classes) and bias (classes,) for ``pooled_features``."""
    parts = _pooled_parts(model)
    for part, own in zip(parts, _split(weights, parts), strict=True):
        part.set_weights([own[None, None]])
    model.get_layer("logits").set_weights([_sums(len(parts), len(bias)), bias])


def split_at_frozen(model: Any, settings: TrainSettings) -> tuple[Any, Any] | None:
    """The frozen lower part of an encoder, and the part that is trained on its features.

    Both share the layers of ``model``; the first has several outputs, the finest first, and the
    second takes them in that order. None where nothing is frozen.
    """
    import keras

    if not settings.network.has_encoder or settings.freeze_stride_px < 2:
        return None
    last = ENCODERS[settings.network].last_of_stride(settings.alpha)
    names = [last[stride] for stride in tap_strides(settings)]
    taps = [model.get_layer(name).output for name in names]
    return keras.Model(model.input, taps), keras.Model(taps, model.output)


def tap_strides(settings: TrainSettings) -> list[int]:
    """Strides of the frozen features that something is learned from, the finest first."""
    frozen = settings.freeze_stride_px
    finer = [stride for stride in STRIDES_PX if settings.stride_px <= stride < frozen]
    return [*finer, frozen]


def set_pooled_head(model: Any, weights: NDArray[np.float32], bias: float, share: float) -> None:
    """Fill in what ``settings.pooled_head`` takes off every cell.

    Args:
        weights: (f,), and ``bias``: of the log odds that a tile is defective, from its pooled
            features in the order of ``pooled_head.pooled``.
        share: how many times the log odds are taken off.
    """
    parts = _pooled_parts(model)
    for part, own in zip(parts, _split(weights[:, None], parts), strict=True):
        part.set_weights([own[None, None]])
    kernel = np.full((1, 1, len(parts), 1), -share, np.float32)
    model.get_layer("sound").set_weights([kernel, np.array([-share * bias], np.float32)])


def _decoded(levels: dict[int, Any], stride_px: int) -> Any:
    """Coarse features carried up and joined with finer ones, down to ``stride_px``.

    From stride 32 there is more to say: which side of an edge is the faulty one.
    """
    from keras import layers

    width = {8: 48, 4: 32, 2: 16}
    deep = 32 in levels
    if deep:
        width |= {16: 64, 4: 24}
        x = _conv(_conv(levels[32], 96, "d32", kernel=1), 96, "d32_around")
    else:
        x = _conv(levels[16], 48, "d16", kernel=1)
    for stride in (16, 8, 4, 2) if deep else (8, 4, 2):
        if stride < stride_px:
            break
        if x.shape[-1] != width[stride]:
            x = layers.Conv2D(width[stride], 1, name=f"d{stride}_narrow")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"d{stride}_up")(x)
        side = layers.Conv2D(width[stride], 1, name=f"d{stride}_side")(levels[stride])
        if deep:
            side = layers.BatchNormalization(momentum=0.97, name=f"d{stride}_side_bn")(side)
        x = layers.ReLU(name=f"d{stride}_join")(layers.Add(name=f"d{stride}_add")([x, side]))
        x = _conv(x, width[stride], f"d{stride}")
        if stride == 16:
            x = _conv(x, width[stride], "d16_around")
    return x


def _plain(picture: Any, settings: TrainSettings) -> Any:
    """A fine branch that keeps small defects, and a coarse, dilated one that sees around them.

    ``medium`` has a third, coarser branch, which follows a track past a defect.
    """
    from keras import layers

    narrow, middle, wide = (12, 24, 40) if settings.network is Network.TINY else (16, 32, 64)
    x = _conv(picture, narrow, "stem", kernel=5, stride=2)
    fine = {2: x}
    x = _conv(x, middle, "quarter_1", stride=2)
    fine[4] = x = _conv(x, middle, "quarter_2")
    x = _conv(x, wide, "eighth_1", stride=2)
    dilations = (1, 2) if settings.network is Network.TINY else (1, 2, 4)
    for number, dilation in enumerate(dilations, start=2):
        x = _conv(x, wide, f"eighth_{number}", dilation=dilation)
    if settings.network is Network.MEDIUM:
        fine[8] = x
        x = _conv(x, _COARSEST, "sixteenth_1", stride=2)
        x = _conv(x, _COARSEST, "sixteenth_2")
        x = _conv(x, _COARSEST, "sixteenth_3", dilation=2)
    for stride in sorted(fine, reverse=True):
        if stride < settings.stride_px:
            break
        filters = fine[stride].shape[-1]
        x = layers.Conv2D(filters, 1, name=f"coarse_{stride}")(x)
        x = layers.UpSampling2D(2, interpolation="bilinear", name=f"up_{stride}")(x)
        x = layers.ReLU(name=f"join_{stride}")(layers.Add(name=f"add_{stride}")([fine[stride], x]))
        x = _conv(x, filters, f"joined_{stride}")
    return x


def _conv(
    x: Any, filters: int, name: str, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> Any:
    from keras import layers

    x = layers.Conv2D(
        filters, kernel, stride, "same", dilation_rate=dilation, use_bias=False, name=name
    )(x)
    x = layers.BatchNormalization(momentum=0.97, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _less_where_sound(logits: Any, levels: Sequence[Any]) -> Any:
    """Every cell is lowered by the log odds that the tile is sound, where those are positive.

    One-sided, for it says nothing of where a defect is: raised as well, the cells around a defect
    would come up with it.
    """
    from keras import layers

    pooled = [value for level in levels for value in _pooled(level)]
    joined = layers.Concatenate()(_weighed(pooled, 1))
    sound = layers.Conv2D(1, 1, activation="relu", name="sound")(joined)
    return layers.Subtract(name="lowered")([logits, sound])


def _weighed(pooled: Sequence[Any], units: int) -> list[Any]:
    """What each kind of pooling at each level adds to the logits, (n, 1, 1, units).

    Each has weights and so a quantized range of its own: joined before, the largest range would
    be that of all.
    """
    from keras import layers

    return [
        layers.Conv2D(units, 1, use_bias=False, name=f"{_POOLED_PART}{number:02}")(value)
        for number, value in enumerate(pooled)
    ]


def _sums(parts: int, units: int) -> NDArray[np.float32]:
    """The kernel (parts * units, units) that adds up what each part says."""
    return np.tile(np.eye(units, dtype=np.float32), (parts, 1))


def _pooled_parts(model: Any) -> list[Any]:
    """The layers of ``_weighed``, in order."""
    return [layer for layer in model.layers if layer.name.startswith(_POOLED_PART)]


def _split(weights: NDArray[np.float32], parts: Sequence[Any]) -> list[NDArray[np.float32]]:
    """The rows of (f, units) that belong to each of ``parts``."""
    ends = np.cumsum([part.input.shape[-1] for part in parts])
    return np.split(weights, ends[:-1])


def _pooled(x: Any) -> list[Any]:
    """Mean, maximum and spread over the map, each (n, 1, 1, channels).

    The spread is how far values lie above their mean, on average: half of the mean distance from
    it, without the absolute value that the Edge TPU does not know. The maximum is taken by a window
    as large as the map, for the quantizer leaves a global one in float.
    """
    from keras import layers

    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    above = layers.ReLU()(layers.Subtract()([x, mean]))
    return [
        mean,
        layers.MaxPooling2D(x.shape[1:3])(x),
        layers.GlobalAveragePooling2D(keepdims=True)(above),
    ]
