"""Every model is tried in a child process before this one opens it.

A well-formed file with absurd contents can crash the interpreter, make it hang, take all memory
or flood the log, and so can an accelerator that does not fit its library. The child
(``model_child``) opens the model as the station would, and shows it extreme pictures and the
golden ones; what ends the child ends there. The parent then opens exactly what the child has run:
the same bytes, library, delegate, kernels, threads, interpreters and batch.

What has passed is remembered in this process only. A note on the disk could be written by others
or outlive the library it was made with, and a start pays little for the child: the library loads
here meanwhile, and the child also does the measuring of arrangements.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgeinspect.bundle.directory import FETCH_AGAIN
from edgeinspect.errors import (
    DriverMissing,
    EdgeInspectError,
    HardwareError,
    ModelRefused,
    UsageError,
)
from edgeinspect.hw.arrangement import Arrangement
from edgeinspect.hw.runtime_library import AUTO, load_library

Tile = NDArray[np.generic]

DEADLINE_S = 90.0
"""For each step: a slow machine needs minutes for all golden pictures together."""
LONGEST_TRIAL_S = 1_800.0
_LOOK_EVERY_S = 0.5
SPARE_MEMORY_BYTES = 512 << 20
"""What a trial may take beside four times the model's size."""
MAX_OUTPUT_BYTES = 256 << 10
_MAX_ADDRESSES_BYTES = 16 << 30
_NICE = 10
_NO_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
_ENDINGS = {
    signal.SIGXFSZ: f"prints more than {MAX_OUTPUT_BYTES >> 10} KiB of messages",
    signal.SIGKILL: "was killed (SIGKILL), probably because memory ran out,",
}
_ERRORS: dict[str, type[EdgeInspectError]] = {
    kind.__name__: kind for kind in (DriverMissing, HardwareError, ModelRefused, UsageError)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a model is to be run; see ``litert.open_model``.

    Attributes:
        several: False where only one interpreter with one thread will do.
        bare: only see that the model kills nothing, whatever its inputs and outputs are.
    """

    runtime: str = AUTO
    delegate: str = "none"
    device: str | None = None
    kernels: str = "fast"
    arrangement: str = AUTO
    cores: int = 1
    tiles_at_once: int = 1
    several: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """What a model has been tried in, and may be opened in.

    Attributes:
        runtime: the library and its version.
        stateful: it must forget between tiles.
    """

    runtime: str
    arrangement: Arrangement
    stateful: bool


_passed: dict[tuple[str, Wish, str], Passed] = {}


def try_model(
    model: bytes,
    wish: Wish,
    *,
    source: str,
    golden: Callable[[], Iterable[Tile]] = tuple,
    golden_name: str = "",
    deadline_s: float = DEADLINE_S,
) -> Passed:
    """Open and run the model in a child process, unless it already passed in this process.

    With a delegate it is tried every time, because the accelerator may hang the next time.

    Args:
        model: the model's bytes.
        wish: how to open the model.
        source: the model's name in errors.
        golden: makes the tiles of the golden pictures, shaped as the model takes them.
        golden_name: distinguishes these golden pictures from others.
        deadline_s: time limit of each step of the trial: loading, and each picture.

    Raises:
        ModelRefused: the child died, hung or used too much, or it refused the model.
        HardwareError: the child died or hung with a delegate, so the accelerator may be the cause.
        DriverMissing: the library or the delegate is not installed.
    """
    key = (hashlib.sha256(model).hexdigest(), wish, golden_name)
    if wish.delegate == "none" and key in _passed:
        return _passed[key]
    with _child(model, wish, source, golden()) as child:
        library = load_library(wish.runtime)  # both processes load it at the same time
        limit_s = child.wait(deadline_s)
        answer = _answer(child.answers)
        step = answer.get("step", "before it started")
        if limit_s is not None:
            raise _hangs(wish, source, step, limit_s)
        if child.process.returncode:
            raise _died(child, wish, source, step)
    passed = _verdict(answer, source, child.memory_bytes)
    if passed.runtime != f"{library.name} {library.version}":
        raise ModelRefused(
            f"{source} was tried with {passed.runtime}, but {library.name} {library.version} is "
            "loaded here.",
            next_action="The library was replaced during the trial; run the command again.",
        )
    _passed[key] = passed
    return passed


def try_bare(model: bytes, *, source: str) -> None:
    """Check in a child process that a model of any kind, also a float one, does not crash.

    For the tools, which open models with several inputs and with every kind of kernel. A model that
    the library merely rejects passes; the caller gets the same rejection later.

    Raises:
        ModelRefused: the child died, hung, or took too much.
        DriverMissing: the library is not installed.
    """
    try_model(model, Wish(bare=True, cores=len(os.sched_getaffinity(0))), source=source)


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    answers: IO[bytes]
    words: IO[bytes]
    memory_bytes: int

    def wait(self, step_s: float) -> float | None:
        """None once it has ended, else the limit in seconds that it did not keep.

        Args:
            step_s: the limit for each step; all together have ``LONGEST_TRIAL_S``.
        """
        descriptor = os.pidfd_open(self.process.pid)
        began_s = time.monotonic()
        step, since_s = b"", began_s
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while not poll.poll(min(step_s, _LOOK_EVERY_S) * 1000):
                now_s = time.monotonic()
                seen = os.pread(self.answers.fileno(), MAX_OUTPUT_BYTES, 0)
                if seen != step:
                    step, since_s = seen, now_s
                if now_s - since_s >= step_s:
                    return step_s
                if now_s - began_s >= LONGEST_TRIAL_S:
                    return LONGEST_TRIAL_S
        finally:
            os.close(descriptor)
        self.process.wait()
        return None


@contextlib.contextmanager
def _child(model: bytes, wish: Wish, source: str, golden: Iterable[Tile]) -> Iterator[_Child]:
    """Run the child; it and all its own children are ended after the block."""
    memory_bytes = SPARE_MEMORY_BYTES + 4 * len(model)
    job = {
        **asdict(wish),
        "source": source,
        "model_bytes": len(model),
        "parent": os.getpid(),
        "nice": _NICE,
        "limits": _limits(wish, memory_bytes),
    }
    with contextlib.ExitStack() as opened:
        # Files in memory: nothing blocks on a full pipe, and the child's limit bounds its words.
        given, answers, words = (opened.enter_context(_memory_file()) for _ in range(3))
        given.write(json.dumps(job).encode() + b"\n")
        given.write(model)
        for tile in golden:
            given.write(np.ascontiguousarray(tile).data)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-B", "-m", "edgeinspect.hw.model_child"],
            stdin=given,
            stdout=answers,
            stderr=words,
            env=_environment(),
            start_new_session=True,
        )
        try:
            yield _Child(process, answers, words, memory_bytes)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("edgeinspect-trial"), "w+b")


def _limits(wish: Wish, memory_bytes: int) -> dict[str, int]:
    """Limits by the names of module ``resource``.

    RLIMIT_DATA bounds what the child can write to in memory; address space alone costs nothing
    and is taken by the gigabyte by allocators with many threads.
    """
    return {
        "RLIMIT_DATA": memory_bytes,
        "RLIMIT_AS": _MAX_ADDRESSES_BYTES if sys.maxsize > 2**32 else 3 << 30,
        "RLIMIT_CPU": round(LONGEST_TRIAL_S) * max(1, wish.cores),
        "RLIMIT_FSIZE": MAX_OUTPUT_BYTES,
        "RLIMIT_CORE": 0,
    }


def _environment() -> dict[str, str]:
    """What a Python of this installation and the libraries need; no secrets, no switches."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    ours = {name: value for name, value in os.environ.items() if name.startswith("EDGEINSPECT_")}
    places = [str(Path(place).absolute()) for place in sys.path if place]
    return {**kept, **ours, "PYTHONPATH": os.pathsep.join(places)}


def _answer(file: IO[bytes]) -> dict[str, Any]:
    """The step that the child began, or the outcome; empty if it gave none."""
    file.seek(0)
    try:
        answer: dict[str, Any] = json.loads(file.read(MAX_OUTPUT_BYTES + 1))
    except ValueError:
        return {}
    return answer


def _verdict(outcome: dict[str, Any], source: str, memory_bytes: int) -> Passed:
    """Return the child's result, or raise the error that it found."""
    if not outcome or "step" in outcome:
        raise _refused(f"{source} ended its trial without a result.")
    if outcome.get("error") == "MemoryError":
        raise _too_large(source, "", memory_bytes)
    if "error" in outcome:
        kind = _ERRORS.get(outcome["error"], ModelRefused)
        raise kind(outcome["message"], next_action=outcome["next_action"])
    return Passed(
        runtime=outcome["runtime"],
        arrangement=Arrangement(*outcome["arrangement"]),
        stateful=outcome["stateful"],
    )


def _hangs(wish: Wish, source: str, step: str, limit_s: float) -> EdgeInspectError:
    """The error for a trial that took too long, whether in one step or in all."""
    what = "the whole trial" if limit_s == LONGEST_TRIAL_S else "the step"
    late = f"{step}: {what} had not finished after {limit_s:.0f} s."
    if wish.delegate == "none":
        return _refused(f"{source} hangs {late}")
    return HardwareError(
        f"The Edge TPU hangs when it runs {source} {late}",
        next_action="Unplug it, then plug it in again at a USB 3 port with enough power.",
    )


def _died(child: _Child, wish: Wish, source: str, step: str) -> EdgeInspectError:
    """The error for a child that did not end by itself."""
    code = child.process.returncode
    child.words.seek(0)
    words = child.words.read(MAX_OUTPUT_BYTES).decode(errors="replace")
    if code == -signal.SIGXCPU:
        return _hangs(wish, source, step, LONGEST_TRIAL_S)
    if any(sign in words for sign in _NO_MEMORY):
        return _too_large(source, step, child.memory_bytes)
    if -code in _ENDINGS:
        return _refused(f"{source} {_ENDINGS[signal.Signals(-code)]} {step}.")
    if code > 0:
        last = words.strip().splitlines()[-1:] or ["no reason given"]
        return _refused(f"{source} could not be tried: {last[0][:200]}.")
    name = _signal_name(-code)
    if wish.delegate == "none":
        return _refused(f"{source} is damaged: it crashes the interpreter ({name}) {step}.")
    return HardwareError(
        f"The Edge TPU library crashes when it runs {source} ({name}) {step}.",
        next_action="Install the libedgetpu build that matches this inference runtime.",
    )


def _too_large(source: str, step: str, memory_bytes: int) -> ModelRefused:
    words = f"{source} needs more than {memory_bytes >> 20} MiB of memory {step}".rstrip()
    return _refused(f"{words}.")


def _refused(message: str) -> ModelRefused:
    return ModelRefused(message, next_action=FETCH_AGAIN)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
