"""``edgeinspect-tools bench model``: a model's operators, size and latency."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.card import CARD_FILE
from edgeinspect.bundle.directory import load_bundle
from edgeinspect.cli.options import ANY_PATH
from edgeinspect.errors import InferenceFailed, ModelRefused
from edgeinspect.hw.litert import open_model
from edgeinspect.hw.model_file import read_model
from edgeinspect.hw.model_probe import try_bare
from edgeinspect.hw.runtime_library import load_library
from edgeinspect.terminal.output import examples, json_option, print_json, print_text, table
from edgeinspect_tools.bench.estimate import BOARDS, NOTE
from edgeinspect_tools.bench.figures import Spread
from edgeinspect_tools.flatbuffer import Operator, TfliteModel, parse_tflite

_WARM_UP = 3

Tiles = list[NDArray[np.generic]]


@click.command(
    epilog=examples(
        """
        edgeinspect-tools bench model model.tflite
        edgeinspect-tools bench model models/sim-surface --tiles 4 --runs 200 --json
        """
    )
)
@click.argument("subject", type=ANY_PATH, metavar="MODEL|BUNDLE")
@click.option("--tiles", default=4, show_default=True, type=click.IntRange(1, 256),
              help="Tiles of one part.")  # fmt: skip
@click.option(
    "--runs",
    default=50,
    show_default=True,
    type=click.IntRange(5, 100_000),
    help="Number of timed parts for each arrangement.",
)
@json_option
def command(*, subject: Path, tiles: int, runs: int, as_json: bool) -> None:
    """Show a model's operators, multiply-accumulates, size and latency.

    The latency is measured for each arrangement of the cores, alternating with the bare
    interpreter on the same tiles. The last table estimates the latency on other boards.
    """
    model = read_subject(subject)
    structure = parse_tflite(model, subject)
    if structure.is_compiled:
        raise ModelRefused(
            f"{subject} is compiled for the Edge TPU and does not run without it.",
            next_action="Give the int8 model that it was compiled from.",
        )
    figures = describe(structure) | measure(model, str(subject), tiles=tiles, runs=runs)
    figures["estimates"] = estimates(figures["macs"], tiles)
    figures["estimate_note"] = NOTE
    if as_json:
        print_json(figures)
    else:
        _say(figures)


def read_subject(subject: Path) -> bytes:
    """The bytes of a model file, or of a bundle's verified model. Raises ModelRefused."""
    if (subject / CARD_FILE).is_file():
        return load_bundle(subject).model
    return read_model(subject)


def describe(model: TfliteModel) -> dict[str, Any]:
    """Operators, parameters and multiply-accumulates of one inference."""
    return {
        "model_bytes": model.size_bytes,
        "parameter_bytes": model.parameter_bytes,
        "macs": sum(macs(operator) for operator in model.operators),
        "operators": dict(Counter(operator.name for operator in model.operators).most_common()),
        "input": {"shape": list(model.inputs[0].shape), "dtype": model.inputs[0].dtype},
        "output": {"shape": list(model.outputs[0].shape), "dtype": model.outputs[0].dtype},
    }


def macs(operator: Operator) -> int:
    """Multiply-accumulates of a convolution or a dense layer; 0 for what only moves or compares.

    Weights are (out, h, w, in), of a depthwise convolution (1, h, w, out), of a dense layer
    (out, in), as the TFLite schema lays them out.
    """
    if len(operator.inputs) < 2 or operator.inputs[1] is None:
        return 0
    weights, cells = operator.inputs[1].shape, int(np.prod(operator.outputs[0].shape))
    if operator.name == "CONV_2D":
        return cells * int(np.prod(weights[1:]))
    if operator.name == "DEPTHWISE_CONV_2D":
        return cells * int(np.prod(weights[1:3]))
    if operator.name == "FULLY_CONNECTED":
        return cells * int(weights[-1])
    if operator.name == "TRANSPOSE_CONV" and operator.inputs[2] is not None:
        return int(np.prod(operator.inputs[2].shape)) * int(np.prod(weights[:3]))
    return 0


def measure(model: bytes, source: str, *, tiles: int, runs: int) -> dict[str, Any]:
    """Microseconds for all tiles of a part, for the bare interpreter and each arrangement.

    A model that the station would refuse, e.g. a float one, is timed on the bare interpreter only.

    Raises:
        ModelRefused: it does not run at all.
    """
    try_bare(model, source=source)
    bare, shape, dtype = _bare(model, source)
    pictures = _tiles(shape, dtype, tiles)
    rivals: dict[str, Callable[[], object]] = {"bare interpreter": lambda: bare(pictures)}
    refused = ""
    engines = []
    try:
        for wish in ("threads", "interpreters", "batch"):
            try:
                engine = open_model(model, source=source, arrangement=wish, tiles_at_once=tiles)
            except ModelRefused as error:
                refused = error.message
                continue
            engines.append(engine)
            inputs = [picture[0] for picture in pictures]
            rivals[engine.description] = _running(engine.run, inputs)
        spreads = _in_turn(rivals, runs=runs)
    finally:
        for engine in engines:
            engine.close()
    base = spreads["bare interpreter"].p50_us
    return {
        "tiles": tiles,
        "runs": runs,
        "arrangements": [
            {"name": name, **asdict(spread), "ratio_p50": round(spread.p50_us / base, 4)}
            for name, spread in spreads.items()
        ],
        "refused": refused,
    }


def estimates(count: int, tiles: int) -> list[dict[str, Any]]:
    """Milliseconds for a part on each board; see ``bench.estimate``."""
    made = []
    for board in BOARDS:
        low, high = board.range_ms(count * tiles)
        row = {"board": board.name, "ms_from": round(low, 2), "ms_to": round(high, 2)}
        made.append({**row, "source": board.source})
    return made


def _running(run: Callable[[Tiles], object], inputs: Tiles) -> Callable[[], object]:
    return lambda: run(inputs)


def _bare(
    model: bytes, source: str
) -> tuple[Callable[[Tiles], None], tuple[int, ...], np.dtype[Any]]:
    try:
        interpreter = load_library().interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelRefused(f"{source} does not run here: {error}.") from error
    entries = interpreter.get_input_details()
    if len(entries) != 1:
        raise ModelRefused(f"{source} has {len(entries)} inputs; one picture is expected.")
    index = entries[0]["index"]

    def run(tiles: Tiles) -> None:
        for tile in tiles:
            interpreter.set_tensor(index, tile)
            try:
                interpreter.invoke()
            except RuntimeError as error:
                raise InferenceFailed(f"{source} cannot be run: {error}.") from error

    shape = tuple(int(extent) for extent in entries[0]["shape"])
    return run, shape, np.dtype(entries[0]["dtype"])


def _tiles(shape: tuple[int, ...], dtype: np.dtype[Any], count: int) -> Tiles:
    rng = np.random.default_rng(1)
    if dtype.kind == "f":
        return [rng.random(shape).astype(dtype) for _ in range(count)]
    limits = np.iinfo(dtype)
    return [rng.integers(limits.min, limits.max + 1, shape).astype(dtype) for _ in range(count)]


def _in_turn(rivals: dict[str, Callable[[], object]], *, runs: int) -> dict[str, Spread]:
    times: dict[str, list[int]] = {name: [] for name in rivals}
    for number in range(_WARM_UP + runs):
        for name, run in rivals.items():
            start_ns = time.perf_counter_ns()
            run()
            if number >= _WARM_UP:
                times[name].append(time.perf_counter_ns() - start_ns)
    return {name: Spread.of_ns(values) for name, values in times.items()}


def _say(figures: dict[str, Any]) -> None:
    print_text(
        f"{figures['model_bytes']:,} bytes, {figures['parameter_bytes']:,} of them parameters; "
        f"{figures['macs'] / 1e6:,.1f} million multiply-accumulates a tile"
    )
    print_text(table(("operator", "count"), list(figures["operators"].items()), right=("count",)))
    columns = (f"microseconds for {figures['tiles']} tiles", "p50", "p90", "p99", "ratio")
    rows: Sequence[Sequence[object]] = [
        (
            one["name"],
            *(f"{one[key]:,.0f}" for key in ("p50_us", "p90_us", "p99_us")),
            f"{one['ratio_p50']:.2f}",
        )
        for one in figures["arrangements"]
    ]
    print_text(table(columns, rows, right=columns[1:]))
    if figures["refused"]:
        print_text(f"Not in every arrangement: {figures['refused']}")
    shown = [
        (one["board"], f"{one['ms_from']:.1f} to {one['ms_to']:.1f}", one["source"])
        for one in figures["estimates"]
    ]
    heads = ("estimate for", "ms a part", "from")
    print_text(table(heads, shown, right=heads[1:2]), NOTE)
