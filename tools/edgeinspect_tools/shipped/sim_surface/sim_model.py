"""The shipped model's network: small, fully convolutional, one logit map per defect class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.sim.defects import DEFECT_KINDS
from edgeinspect_tools.shipped.sim_surface.sim_data import MEAN, STD, TILE_PX


def build_model(side_px: int = TILE_PX) -> Any:
    """A Keras model from (n, side_px, side_px, 1) real input to logits at a quarter of the size.

    A fine branch at strides 2 and 4 keeps 2 px defects; a coarse one at stride 8 lets each
    output see about 75 px, enough to tell engraving and edges from cracks and chips. Every
    activation ends at 6: eight bits over a short range leave little rounding noise.
    """
    import keras
    from keras import layers

    def conv(x: Any, filters: int, name: str, *, stride: int = 1) -> Any:
        x = layers.Conv2D(filters, 3, stride, "same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn", momentum=0.99)(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x)

    picture = keras.Input((side_px, side_px, 1), name="picture")
    x = conv(picture, 16, "stem", stride=2)
    x = conv(x, 16, "half")
    fine = conv(x, 32, "quarter_1", stride=2)
    fine = conv(fine, 32, "quarter_2")
    x = conv(fine, 48, "eighth_1", stride=2)
    x = conv(x, 48, "eighth_2")
    x = conv(x, 48, "eighth_3")
    x = layers.ReLU(6.0, name="coarse_relu")(layers.Conv2D(32, 1, name="coarse")(x))
    x = layers.UpSampling2D(2, interpolation="bilinear", name="coarse_up")(x)
    x = layers.Add(name="join")([fine, x])
    x = layers.ReLU(6.0, name="join_relu")(x)
    x = conv(x, 32, "joined")
    bias = keras.initializers.Constant(-4.0)  # defects are rare: start by saying so
    logits = layers.Conv2D(len(DEFECT_KINDS), 1, bias_initializer=bias, name="logits")(x)
    return keras.Model(picture, logits, name="sim_surface")


def real_input(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 grey levels to the network's float32 input."""
    return (pixels.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)


def loss(targets: Any, weights: Any, logits: Any) -> Any:
    """Focal binary cross-entropy with a weight per cell and class, plus a soft Dice term.

    Focal loss after Lin et al. 2017 (gamma 1.5): sound cells that are already sure count for
    little, so the rare look-alikes among them are learned.
    """
    import tensorflow as tf

    targets = tf.cast(targets, tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    score = tf.sigmoid(logits)
    error = targets * (1 - score) + (1 - targets) * score
    focal = tf.reduce_sum(weights * tf.pow(error + 1e-6, 1.5) * entropy)
    tiles = tf.cast(tf.shape(logits)[0], tf.float32)
    counted = tf.cast(weights > 0, tf.float32)
    overlap = tf.reduce_sum(counted * targets * score, axis=(0, 1, 2))
    total = tf.reduce_sum(counted * (targets + score), axis=(0, 1, 2))
    dice = 1 - tf.reduce_mean((2 * overlap + 1) / (total + 1))
    return focal / (8 * tiles) + 0.5 * dice
