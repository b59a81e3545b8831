"""Try an unknown model in a child process first: a damaged one can crash the interpreter.

tflite-runtime reads a truncated file without checking its structure, and a well-formed file with
damaged contents can crash LiteRT too. The child loads the model and runs it once on zeros; what
kills it or makes it hang is refused. What it merely rejects, the caller meets again by itself.

An accelerator is tried in the same way: one that hangs takes the child's time, not the station's.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys

from edgeinspect.errors import DriverMissing, HardwareError, ModelRefused

DEADLINE_S = 30.0
_MEMORY_BYTES = 4 << 30


def probe_in_child(
    model: bytes,
    *,
    library: str,
    source: str,
    deadline_s: float = DEADLINE_S,
    delegate: str = "none",
    device: str | None = None,
) -> None:
    """Load and run the model once in a child process.

    Args:
        library: "litert" or "tflite-runtime".
        source: the model's name in errors.
        delegate, device: as in the station file's engine section.

    Raises:
        ModelRefused: the child died, or was not done by the deadline.
        HardwareError: the same with a delegate, where the accelerator is to blame as well.
    """
    command = [sys.executable, "-m", "edgeinspect.hw.model_probe", library, delegate, device or ""]
    try:
        done = subprocess.run(
            command, input=model, capture_output=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        if delegate != "none":
            raise HardwareError(
                f"The Edge TPU hangs: {source} was not done with one picture after "
                f"{deadline_s:.0f} s.",
                next_action="Unplug it and plug it in again; use a USB 3 port with enough power.",
            ) from error
        raise ModelRefused(
            f"{source} is damaged or too large: one picture took longer than {deadline_s:.0f} s."
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        if delegate != "none":
            raise HardwareError(
                f"The Edge TPU's library crashes with {source} ({name}).",
                next_action="Install the libedgetpu that was built for this inference runtime.",
            )
        raise ModelRefused(f"{source} is damaged: it crashes the interpreter ({name}).")
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise ModelRefused(
            f"{source} cannot be tried: {words[-1] if words else 'no reason given'}."
        )


def main() -> None:
    """The child: model on stdin; ends normally whether or not the library likes the model."""
    from edgeinspect.hw.interpreters import load_delegates
    from edgeinspect.hw.runtime_library import load_library

    with contextlib.suppress(ValueError, OSError):  # a hard limit below ours is good enough
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model = sys.stdin.buffer.read()
    library = load_library(sys.argv[1])
    delegate, device = sys.argv[2], sys.argv[3] or None
    with contextlib.suppress(ValueError, RuntimeError, DriverMissing):
        interpreter = library.interpreter(
            model_content=model,
            num_threads=1,
            experimental_delegates=load_delegates(library, delegate, device) or None,
        )
        interpreter.allocate_tensors()
        interpreter.invoke()


if __name__ == "__main__":
    main()
