"""PyTorch programs (``torch.export.save``) and modules to TFLite, through litert-torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from script_protocol import Refused, serve  # type: ignore[import-not-found]


def _load(request: dict[str, Any]) -> tuple[Any, list[int]]:
    """The module, channels first, and the shape it takes."""
    import torch

    source, _, factory = request["source"].partition("::")
    if not factory:
        program = torch.export.load(source)
        users = [
            spec.arg.name
            for spec in program.graph_signature.input_specs
            if spec.kind.name == "USER_INPUT"
        ]
        if len(users) != 1:
            raise Refused(f"The program has {len(users)} inputs.")
        value = next(n.meta["val"] for n in program.graph.nodes if n.name == users[0])
        return program.module(), [int(extent) for extent in value.shape]
    if request["shape"] is None:
        raise Refused("Give the size of a picture with --input-shape 1,HEIGHT,WIDTH,CHANNELS.")
    _, height, width, channels = request["shape"]
    return _module(Path(source), factory, request["weights"]), [1, channels, height, width]


def _module(file: Path, factory: str, weights: str | None) -> Any:
    import torch

    spec = importlib.util.spec_from_file_location("source_model", file)
    if spec is None or spec.loader is None:
        raise Refused(f"{file} is not a Python file.")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, factory):
        raise Refused(f"{file} has no {factory}.")
    module = getattr(loaded, factory)()
    if weights is not None:
        module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval()


def _output_rank(module: Any, shape: list[int]) -> int:
    import torch

    with torch.no_grad():
        output = module(torch.zeros(shape))
    if not isinstance(output, torch.Tensor):
        raise Refused("It has more than one output.")
    return int(output.dim())


def convert(request: dict[str, Any]) -> None:
    """Convert the source and write the float TFLite file.

    Args:
        request: see ``script_protocol``.

    Raises:
        Refused: the source cannot be converted; says why.
    """
    import litert_torch
    import torch

    module, shape = _load(request)
    if len(shape) != 4 or shape[0] != 1:
        raise Refused(f"The program takes {shape}; export it with one picture: 1, C, H, W.")
    outputs = [0] if _output_rank(module, shape) == 4 else None
    if not isinstance(module, torch.nn.Module) or "GraphModule" in type(module).__name__:
        module = _Wrapped(module)
    channel_last = litert_torch.to_channel_last_io(module, args=[0], outputs=outputs)
    batch, channels, height, width = shape
    sample = (torch.zeros(batch, height, width, channels),)
    litert_torch.convert(channel_last, sample, strict_export=False).export(request["out"])


class _Wrapped:
    """Made a torch module when torch is there; an exported program's own refuses ``eval()``."""

    def __new__(cls, program: Any) -> Any:
        import torch

        class Program(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.program = program

            def train(self, mode: bool = True) -> Any:
                self.training = mode
                return self

            def forward(self, x: Any) -> Any:
                return self.program(x)

        return Program().eval()


def run(request: dict[str, Any]) -> None:
    """Run the source itself on the pictures and write its outputs.

    Args:
        request: see ``script_protocol``.
    """
    import numpy as np
    import torch

    module, _ = _load(request)
    results = []
    with torch.no_grad():
        for picture in np.load(request["inputs"]):
            output = module(torch.from_numpy(picture).permute(0, 3, 1, 2).contiguous())
            if output.dim() == 4:
                output = output.permute(0, 2, 3, 1)
            results.append(output.numpy())
    np.save(request["outputs"], np.stack(results))


if __name__ == "__main__":
    serve(convert, run)
