"""A strict fake of ``edgeinspect.ports.Engine``: scripted outputs, misuse refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinspect.errors import InferenceFailed
from edgeinspect.ports import Engine, TensorSpec

Tile = NDArray[np.generic]


class FakeEngine(Engine):
    """Answers each tile from a script.

    Args:
        input_spec: the input as a model states it, batch first.
        output_spec: the output, likewise.
        script: a function of the tile, or outputs to give one after the other; an exception
            among them is raised. Outputs come without the batch axis. Every output is checked,
            so a script cannot say what a real model could not.

    Attributes:
        tiles: copies of the tiles seen, in order.
    """

    def __init__(
        self,
        *,
        input_spec: TensorSpec,
        output_spec: TensorSpec,
        script: Callable[[Tile], Tile] | Iterable[Tile | Exception],
    ) -> None:
        self.input_spec = input_spec
        self.output_spec = output_spec
        self.description = "scripted fake engine"
        self._function = script if callable(script) else None
        self._outputs = iter(()) if callable(script) else iter(script)
        self._closed = False
        self.tiles: list[Tile] = []

    def run(self, tiles: Sequence[Tile]) -> list[Tile]:
        """See ``edgeinspect.ports.Engine``.

        Raises:
            InferenceFailed: closed, a wrong tile, or a scripted failure.
            AssertionError: the script ended or gives what the output cannot be.
        """
        if self._closed:
            raise InferenceFailed("The engine is closed.")
        return [self._answer(tile) for tile in tiles]

    def _answer(self, tile: Tile) -> Tile:
        self.input_spec.check_tile(tile)
        self.tiles.append(tile.copy())
        output = self._function(tile) if self._function is not None else self._next()
        if not self.output_spec.holds(output):
            raise AssertionError(f"scripted output {output.dtype} {output.shape} is wrong")
        return output

    def _next(self) -> Tile:
        for output in self._outputs:
            if isinstance(output, Exception):
                raise InferenceFailed(f"The model failed on a picture: {output}.") from output
            return output
        raise AssertionError("the script has no more outputs")

    def close(self) -> None:
        """Refuse every later run; closing twice is allowed."""
        self._closed = True
