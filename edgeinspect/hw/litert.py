"""The engine: full-integer TFLite models through LiteRT or tflite-runtime.

``open_engine`` runs a verified bundle on the station; ``open_model`` runs bare model bytes for the
tools. A model that cannot be trusted is refused before the first part: ``model_probe`` tries it in
a child process, and only a model that passes is opened here. ``model_file`` makes the error
messages for the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import EDGETPU_MODEL_FILE, Bundle
from edgeinspect.bundle.golden import golden_tiles
from edgeinspect.errors import ModelRefused
from edgeinspect.hw.edgetpu import is_compiled
from edgeinspect.hw.interpreters import Kernels, Loader
from edgeinspect.hw.litert_engine import LiteRtEngine, arranged, choose
from edgeinspect.hw.model_file import check_against_card, check_identifier
from edgeinspect.hw.model_probe import Wish, try_model
from edgeinspect.hw.runtime_library import AUTO, load_library

__all__ = ["Kernels", "LiteRtEngine", "open_engine", "open_model"]

Tile = NDArray[np.generic]


def open_engine(
    bundle: Bundle,
    *,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    device: str | None = None,
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
) -> LiteRtEngine:
    """Open the engine of a verified bundle, after its model has passed in a child process.

    Args:
        bundle: the verified bundle.
        runtime: auto, litert or tflite-runtime.
        arrangement: auto (measured, within 0.3 s), threads, interpreters or batch.
        threads: the most cores to use; None: all that this process may use.
        delegate: none, or edgetpu, which takes the bundle's Edge TPU model if there is one.
        device: the accelerator; None: the first.
        tiles_at_once: tiles of one part, for which the arrangement is chosen.
        kernels: ``reference`` for golden outputs; they take one core.

    Raises:
        ModelRefused: the model cannot be trusted or is not the card's.
        DriverMissing: the library or the delegate is not installed.
        HardwareError: the accelerator, or its library, died or hung.
    """
    name, model = bundle.card.model, bundle.model
    if delegate == "edgetpu":
        name, model = _edgetpu_model(bundle)
    source = str(bundle.directory / name)
    engine = open_model(
        model,
        source=source,
        runtime=runtime,
        arrangement=arrangement,
        threads=threads,
        delegate=delegate,
        device=device,
        tiles_at_once=tiles_at_once,
        kernels=kernels,
        # a bundle that is being made has none yet; a finished one without is refused elsewhere
        golden=partial(golden_tiles, bundle) if bundle.golden else tuple,
        golden_name=bundle.digest,
    )
    try:
        check_against_card(engine.input_spec, bundle.card.input.spec("input"), "input", source)
        check_against_card(engine.output_spec, bundle.card.output.spec("output"), "output", source)
    except ModelRefused:
        engine.close()
        raise
    return engine


def _edgetpu_model(bundle: Bundle) -> tuple[str, bytes]:
    """Name and bytes of the bundle's model for the Edge TPU. Raises ModelRefused."""
    if bundle.edgetpu_model:
        return EDGETPU_MODEL_FILE, bundle.edgetpu_model
    if not is_compiled(bundle.model):
        raise ModelRefused(
            f"The bundle {bundle.card.name} has no model compiled for the Edge TPU, so it would "
            "run on the CPU.",
            next_action=f"Add {EDGETPU_MODEL_FILE}, compiled with edgetpu_compiler, or set "
            "engine.delegate: none.",
        )
    return bundle.card.model, bundle.model


def open_model(
    model: bytes,
    *,
    source: str,
    runtime: str = AUTO,
    arrangement: str = AUTO,
    threads: int | None = None,
    delegate: str = "none",
    device: str | None = None,
    tiles_at_once: int = 1,
    kernels: Kernels = Kernels.FAST,
    golden: Callable[[], Iterable[Tile]] = tuple,
    golden_name: str = "",
    probe: bool = True,
) -> LiteRtEngine:
    """Open bare model bytes; ``source`` names them in errors.

    Other arguments and errors are those of ``open_engine``.

    Args:
        model: the model's bytes.
        source: the model's name in errors.
        runtime: "auto" or the name of an inference library.
        arrangement: "auto" or the name of an arrangement.
        threads: threads of each interpreter; None uses all cores.
        delegate: "none" or "edgetpu".
        device: which accelerator; None: the first.
        tiles_at_once: the number of tiles in one run.
        kernels: the kernels to use.
        golden: makes the tiles of the golden pictures that the child process also runs.
        golden_name: distinguishes these golden pictures from others.
        probe: False only for bytes that this process has made itself.
    """
    check_identifier(model, source)
    several = kernels is Kernels.FAST and delegate == "none"
    wish = Wish(
        runtime=runtime,
        delegate=delegate,
        device=device,
        kernels=kernels.value,
        arrangement=arrangement,
        cores=threads if threads is not None else len(os.sched_getaffinity(0)),
        tiles_at_once=max(1, tiles_at_once),
        several=several,
    )
    passed = None
    if probe:
        passed = try_model(model, wish, source=source, golden=golden, golden_name=golden_name)
    loader = Loader(
        model,
        source=source,
        library=load_library(runtime),
        kernels=kernels,
        delegate=delegate,
        device=device,
        stateful=passed is not None and passed.stateful,
    )
    if passed is not None:
        return arranged(loader, passed.arrangement)
    tiles = wish.tiles_at_once
    return choose(loader, arrangement, cores=wish.cores, tiles_at_once=tiles, several=several)
