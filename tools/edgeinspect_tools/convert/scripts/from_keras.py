"""Keras 3 files and SavedModels to TFLite, through TensorFlow."""

from __future__ import annotations

from typing import Any

from script_protocol import Refused, batch_of_one, serve  # type: ignore[import-not-found]


def _load(request: dict[str, Any]) -> tuple[Any, list[int | None]]:
    """The source as a function of one tensor, and the shape it takes."""
    if request["kind"] == "savedmodel":
        return _saved_model(request["source"])
    import keras

    try:
        model = keras.models.load_model(request["source"], compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise Refused(f"Keras cannot load it: {first}") from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise Refused(f"It has {len(model.inputs)} inputs and {len(model.outputs)} outputs.")
    return (lambda x: model(x, training=False)), list(model.inputs[0].shape)


def _saved_model(source: str) -> tuple[Any, list[int | None]]:
    import tensorflow as tf

    loaded = tf.saved_model.load(source)
    signatures = loaded.signatures
    if "serving_default" not in signatures:
        raise Refused("The SavedModel has no signature serving_default.")
    signature = signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise Refused(
            f"It has {len(inputs)} inputs and {len(signature.structured_outputs)} outputs."
        )
    (name, spec), (output,) = next(iter(inputs.items())), signature.structured_outputs
    call = lambda x: signature(**{name: x})[output]  # noqa: E731
    call.keep = loaded  # type: ignore[attr-defined]  # its variables die with it
    return call, spec.shape.as_list()


def convert(request: dict[str, Any]) -> None:
    """Convert the source and write the float TFLite file.

    Args:
        request: see ``script_protocol``.

    Raises:
        Refused: the source cannot be converted; says why.
    """
    import tensorflow as tf

    call, shape = _load(request)
    fixed = batch_of_one(shape, request["shape"])
    function = tf.function(call, input_signature=[tf.TensorSpec(fixed, tf.float32, name="input")])
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], call)
    data = converter.convert()
    with open(request["out"], "wb") as file:  # noqa: PTH123
        file.write(data)


def run(request: dict[str, Any]) -> None:
    """Run the source itself on the pictures and write its outputs.

    Args:
        request: see ``script_protocol``.
    """
    import numpy as np

    call, _ = _load(request)
    pictures = np.load(request["inputs"])
    np.save(request["outputs"], np.stack([np.asarray(call(x)) for x in pictures]))


if __name__ == "__main__":
    serve(convert, run)
