"""Encoders whose published weights can be loaded, as tables of inverted residual blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeinspect_tools.train.training_settings import Network, TrainSettings

STRIDES_PX = (2, 4, 8, 16, 32)
"""Every encoder has features at these strides."""

_STEM_FILTERS = 32
_EXPANSION = 6


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual block, section 3.3 of Sandler et al. 2018 (MobileNetV2).

    Attributes:
        filters: output channels at width 1.
        stride: 1 or 2.
        kernel: side of the depthwise kernel.
    """

    filters: int
    stride: int
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class Encoder:
    """The convolutional part of a published network.

    The last block of each network is left out: its many filters serve a classifier.

    Attributes:
        blocks: up to stride 32.
        mean, std: the published weights take (pixel - mean) / std.
        width: of the blocks, for ``alpha`` 1.
        stem_grows: the first convolution grows with ``alpha``, too.
    """

    blocks: tuple[Block, ...]
    mean: float = 127.0
    std: float = 128.0
    width: float = 1.0
    stem_grows: bool = False

    def stem_filters(self, alpha: float) -> int:
        """Filters of the first convolution."""
        return filters_at(_STEM_FILTERS, alpha) if self.stem_grows else _STEM_FILTERS

    def filters(self, block: Block, alpha: float) -> int:
        """Output channels of a block."""
        return filters_at(block.filters, self.width * alpha)

    def last_of_stride(self, alpha: float) -> dict[int, str]:
        """The layer with the last features at each stride, of a model without batch norms."""
        found: dict[int, str] = {}
        at, channels = 2, self.stem_filters(alpha)
        for number, block in enumerate(self.blocks):
            at *= block.stride
            filters = self.filters(block, alpha)
            is_residual = block.stride == 1 and channels == filters
            found[at] = f"block_{number}_{'add' if is_residual else 'project'}"
            channels = filters
        return found


def _stages(*stages: tuple[int, int, int, int], depth: float = 1.0) -> tuple[Block, ...]:
    """Blocks of (repeats, filters, stride of the first, kernel); the first stage never repeats."""
    return tuple(
        Block(filters, stride if repeat == 0 else 1, kernel)
        for repeats, filters, stride, kernel in stages
        for repeat in range(math.ceil(repeats * depth) if repeats > 1 else 1)
    )


_EFFICIENTNET = (
    (1, 16, 1, 3),
    (2, 24, 2, 3),
    (2, 40, 2, 5),
    (3, 80, 2, 3),
    (3, 112, 1, 5),
    (4, 192, 2, 5),
)

ENCODERS: Mapping[Network, Encoder] = {
    Network.MOBILENET_V2: Encoder(
        _stages(
            (1, 16, 1, 3),
            (2, 24, 2, 3),
            (3, 32, 2, 3),
            (4, 64, 2, 3),
            (3, 96, 1, 3),
            (3, 160, 2, 3),
        ),
        mean=127.5,
        std=127.5,
        stem_grows=True,
    ),
    Network.EFFICIENTNET_LITE0: Encoder(_stages(*_EFFICIENTNET)),
    Network.EFFICIENTNET_LITE1: Encoder(_stages(*_EFFICIENTNET, depth=1.1)),
    Network.EFFICIENTNET_LITE2: Encoder(_stages(*_EFFICIENTNET, depth=1.2), width=1.1),
}
"""MobileNetV2: table 2 of Sandler et al. 2018. EfficientNet-Lite: B0 to B2 of Tan and Le 2019,
without squeeze-and-excitation and with ReLU6."""


def filters_at(filters: int, width: float) -> int:
    """Filters at a width, rounded to a multiple of 8 and never by more than a tenth down."""
    wanted = filters * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def encoder_levels(picture: Any, settings: TrainSettings, *, norm: bool) -> dict[int, Any]:
    """The encoder's last features at each of its strides, with MobileNetV2's layer names.

    Args:
        picture: a Keras input.
        settings: which encoder, how wide, how deep, and how much of it is frozen.
        norm: with batch norms; without them the convolutions have biases, for loaded weights.
    """
    from keras import layers

    encoder = ENCODERS[settings.network]
    frozen = settings.freeze_stride_px

    def conv(x: Any, filters: int, name: str, *, kernel: int = 1, stride: int = 1) -> Any:
        layer = layers.Conv2D(
            filters, kernel, stride, "same", use_bias=not norm, name=name, trainable=not fixed
        )
        return normed(layer(x), name)

    def normed(x: Any, name: str) -> Any:
        if not norm:
            return x
        return layers.BatchNormalization(momentum=0.97, name=f"{name}_bn", trainable=not fixed)(x)

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=name)(x)

    at = 2
    fixed = at <= frozen
    stem = conv(picture, encoder.stem_filters(settings.alpha), "Conv1", kernel=3, stride=2)
    x = relu6(stem, "Conv1_relu")
    levels: dict[int, Any] = {}
    for number, block in enumerate(encoder.blocks):
        at *= block.stride
        if at > settings.encoder_stride_px:
            break
        fixed = at <= frozen
        name = f"block_{number}"
        inner, filters = x, encoder.filters(block, settings.alpha)
        if number:
            expanded = conv(x, _EXPANSION * x.shape[-1], f"{name}_expand")
            inner = relu6(expanded, f"{name}_expand_relu")
        depthwise = layers.DepthwiseConv2D(
            block.kernel,
            block.stride,
            "same",
            use_bias=not norm,
            name=f"{name}_depthwise",
            trainable=not fixed,
        )
        inner = relu6(normed(depthwise(inner), f"{name}_depthwise"), f"{name}_depthwise_relu")
        inner = conv(inner, filters, f"{name}_project")
        residual = block.stride == 1 and x.shape[-1] == filters
        x = layers.Add(name=f"{name}_add")([x, inner]) if residual else inner
        levels[at] = x
    return levels


def encoder_layers(model: Any) -> list[Any]:
    """The encoder's convolutions in the order in which they run."""
    there = {layer.name for layer in model.layers}
    most = max(len(encoder.blocks) for encoder in ENCODERS.values())
    names = [
        f"block_{number}_{part}"
        for number in range(most)
        for part in ("expand", "depthwise", "project")
    ]
    return [model.get_layer(name) for name in ("Conv1", *names) if name in there]
