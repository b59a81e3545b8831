"""ONNX to TFLite, through onnx2tf."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from script_protocol import Refused, batch_of_one, serve  # type: ignore[import-not-found]


def _input(request: dict[str, Any]) -> tuple[str, list[int]]:
    """The input's name and fixed shape, channels first."""
    import onnx

    graph = onnx.load(request["source"], load_external_data=False).graph
    constants = {entry.name for entry in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Refused(f"It has {len(inputs)} inputs and {len(graph.output)} outputs.")
    own = [
        d.dim_value if d.HasField("dim_value") else None
        for d in inputs[0].type.tensor_type.shape.dim
    ]
    given = request["shape"]
    if given is not None and len(given) == 4:
        given = [given[0], given[3], given[1], given[2]]
    if len(own) != 4:
        raise Refused(f"Its input has {len(own)} dimensions; expected batch, C, H, W.")
    fixed: list[int] = batch_of_one(own, given)
    return str(inputs[0].name), fixed


def convert(request: dict[str, Any]) -> None:
    """Convert the source and write the float TFLite file.

    Args:
        request: see ``script_protocol``.

    Raises:
        Refused: the source cannot be converted; says why.
    """
    import onnx2tf

    name, shape = _input(request)
    with tempfile.TemporaryDirectory() as folder:
        onnx2tf.convert(
            input_onnx_file_path=request["source"],
            output_folder_path=folder,
            overwrite_input_shape=[f"{name}:{','.join(map(str, shape))}"],
            non_verbose=True,
        )
        made = sorted(Path(folder).glob("*_float32.tflite"))
        if not made:
            raise Refused("onnx2tf made no float32 model.")
        shutil.copyfile(made[0], request["out"])


def run(request: dict[str, Any]) -> None:
    """Run the source itself on the pictures and write its outputs.

    Args:
        request: see ``script_protocol``.
    """
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(request["source"], providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    results = []
    for picture in np.load(request["inputs"]):
        (output,) = session.run(None, {name: np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})
        results.append(output.transpose(0, 2, 3, 1) if output.ndim == 4 else output)
    np.save(request["outputs"], np.stack(results))


if __name__ == "__main__":
    serve(convert, run)
