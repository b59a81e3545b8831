"""The child process in which a model of unknown contents is tried: ``python -m`` of this module.

Its parent is ``model_probe``. The job comes on stdin: one JSON line, the model's bytes, the golden
tiles. The answer goes to stdout: the step that was begun, at last replaced by the outcome, as JSON.
Whatever the libraries say goes to stderr. What the model does here costs this process only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from edgeinspect.hw.runtime_library import RuntimeLibrary
    from edgeinspect.ports import TensorSpec

Report = Callable[..., None]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the job on stdin, and answer; ends normally unless the model ends it."""
    job = json.loads(sys.stdin.buffer.readline())
    _confine(job)
    answers = os.dup(1)
    os.dup2(2, 1)

    def report(**answer: object) -> None:
        os.ftruncate(answers, 0)
        os.pwrite(answers, json.dumps(answer).encode(), 0)

    from edgeinspect.errors import EdgeInspectError

    try:
        outcome = _try(job, report)
    except EdgeInspectError as error:
        kind = type(error).__name__
        report(error=kind, message=error.message, next_action=error.next_action)
    except MemoryError:
        report(error="MemoryError")
    else:
        report(**outcome)
    _end()


def _end() -> NoReturn:
    """Without the libraries' destructors: they are none of the model's business."""
    sys.stderr.flush()
    os._exit(0)


def _confine(job: dict[str, Any]) -> None:
    """Before any library is loaded: die with the parent, stay small, write nothing, be nice."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != job["parent"]:  # it went before we asked
        os._exit(1)
    for name, most in job["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # At the soft limit a signal says which one it was; at the hard one the kernel only kills.
        resource.setrlimit(which, (bound, bound + (hard != bound)))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; a flood is to end us
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # before the station
    with contextlib.suppress(OSError):
        os.nice(job["nice"])


def _try(job: dict[str, Any], report: Report) -> dict[str, Any]:
    """What may be opened in the parent. Raises EdgeInspectError, MemoryError."""
    report(step="while the inference library loads")
    from edgeinspect.hw.runtime_library import load_library

    model = sys.stdin.buffer.read(job["model_bytes"])
    library = load_library(job["runtime"])
    report(step="while it loads")
    if job["bare"]:
        return _try_bare(model, library, job, report)
    return _try_as_engine(model, library, job, report)


def _try_as_engine(
    model: bytes, library: RuntimeLibrary, job: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Open it as the station does, and show it extreme pictures and the golden ones."""
    from edgeinspect.errors import InferenceFailed, ModelRefused
    from edgeinspect.hw.interpreters import Kernels, Loader
    from edgeinspect.hw.litert_engine import choose

    loader = Loader(
        model,
        source=job["source"],
        library=library,
        kernels=Kernels(job["kernels"]),
        delegate=job["delegate"],
        device=job["device"],
    )
    together = job["tiles_at_once"]
    engine = choose(
        loader,
        job["arrangement"],
        cores=job["cores"],
        tiles_at_once=together,
        several=job["several"],
    )
    try:
        for words, tile in loader.extremes():
            report(step=f"on a picture of {words}")
            engine.run([tile] * together)
        shown = 0
        tiles = _golden(engine.input_spec)
        while some := list(islice(tiles, together)):
            report(step=f"on tile {shown + 1} of the golden pictures, or one soon after it")
            engine.run([*some, *some[-1:] * (together - len(some))])
            shown += len(some)
    except InferenceFailed as error:
        raise ModelRefused(f"{job['source']}: {error.message}") from error
    arrangement = engine.arrangement
    return {
        "runtime": loader.runtime,
        "stateful": loader.is_stateful,
        "arrangement": [arrangement.interpreters, arrangement.threads, arrangement.batch],
    }


def _golden(spec: TensorSpec) -> Iterator[Any]:
    """The tiles on stdin; those of a card that speaks of others end early, to be refused later."""
    import numpy as np

    dtype = np.dtype(spec.dtype)
    tile_bytes = math.prod(spec.shape) * dtype.itemsize
    while len(data := sys.stdin.buffer.read(tile_bytes)) == tile_bytes:
        yield np.frombuffer(data, dtype).reshape(spec.shape[1:])


def _try_bare(
    model: bytes, library: RuntimeLibrary, job: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Run the model with every kind of kernel.

    A model that is merely rejected is not our concern.
    """
    kinds = library.resolver_type
    for kernels, threads in (
        (kinds.AUTO, 1),
        (kinds.AUTO, job["cores"]),
        (kinds.BUILTIN_REF, 1),
        (kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES, 1),
    ):
        with contextlib.suppress(ValueError, RuntimeError):
            report(step="while it loads")
            interpreter = library.interpreter(
                model_content=model, num_threads=threads, experimental_op_resolver_type=kernels
            )
            interpreter.allocate_tensors()
            for words, of in _FILLINGS.items():
                report(step=f"on inputs of {words}")
                for entry in interpreter.get_input_details():
                    interpreter.set_tensor(entry["index"], of(entry["shape"], entry["dtype"]))
                interpreter.invoke()
    return {"runtime": f"{library.name} {library.version}", "stateful": False, "arrangement": []}


def _highest(shape: Any, dtype: Any) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    return np.full(shape, np.iinfo(kind).max if kind.kind in "iu" else 1, kind)


def _lowest(shape: Any, dtype: Any) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    return np.full(shape, np.iinfo(kind).min if kind.kind in "iu" else 0, kind)


_FILLINGS = {"the lowest values": _lowest, "the highest values": _highest}


if __name__ == "__main__":
    main()
