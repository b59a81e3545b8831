"""Run ``edgetpu_compiler``, where it is installed, and read its report."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.errors import ModelRefused
from edgeinspect.files.atomic_file import replace_file

PROGRAM = "edgetpu_compiler"
DEADLINE_S = 300

_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^([A-Z][A-Z0-9_]*|[a-z][\w-]*)\s+(\d+)\s{2,}(\S.*)$")
_SIZE = re.compile(r"^([\d.]+)\s*(B|KiB|MiB|GiB)$")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


@dataclass(frozen=True, slots=True)
class CompilerRow:
    """One line of the operator table."""

    operator: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether these operators run on the Edge TPU."""
        return self.status == _MAPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerReport:
    """What the compiler printed; None where it did not say.

    Attributes:
        rows: the operator table (``edgetpu_compiler --show_operations``).
        on_chip_bytes: parameters cached on the chip; ``streamed_bytes``: those that are not.
    """

    version: str
    rows: tuple[CompilerRow, ...]
    on_chip_bytes: int | None
    streamed_bytes: int | None

    @property
    def mapped(self) -> int:
        """Number of operators that run on the Edge TPU."""
        return sum(row.count for row in self.rows if row.mapped)

    @property
    def on_cpu(self) -> int:
        """Number of operators that run on the CPU."""
        return sum(row.count for row in self.rows if not row.mapped)


def why_unavailable(environment: Mapping[str, str] | None = None) -> str:
    """Why the compiler cannot be run here, in one sentence; "" if it can."""
    path = (os.environ if environment is None else environment).get("PATH")
    if shutil.which(PROGRAM, path=path):
        return ""
    machine = platform.machine()
    if machine.startswith(("arm", "aarch")):
        return f"{PROGRAM} is not available for ARM ({machine}); compile on an x86-64 Linux PC."
    return f"{PROGRAM} is not installed; see coral.ai/docs/edgetpu/compiler (x86-64 Linux only)."


def parse_report(text: str) -> CompilerReport:
    """Read the compiler's output. Unknown lines are left out."""
    version = ""
    sizes: dict[str, int] = {}
    rows = []
    for line in map(str.strip, text.splitlines()):
        key, _, value = line.partition(": ")
        if line.startswith("Edge TPU Compiler version "):
            version = line.removeprefix("Edge TPU Compiler version ")
        elif match := _ROW.match(line):
            rows.append(CompilerRow(match[1], int(match[2]), match[3]))
        elif size := _SIZE.match(value):
            sizes[key] = round(float(size[1]) * _UNITS[size[2]])
    return CompilerReport(
        version=version,
        rows=tuple(rows),
        on_chip_bytes=sizes.get("On-chip memory used for caching model parameters"),
        streamed_bytes=sizes.get("Off-chip memory used for streaming uncached model parameters"),
    )


def compile_model(model: Path, *, out: Path | None = None) -> CompilerReport:
    """Run the compiler; with ``out`` keep the compiled model.

    Raises:
        ModelRefused: it failed, said nothing useful or did not end in time; with its last words.
        StorageFault: ``out`` could not be written.
    """
    with tempfile.TemporaryDirectory(prefix="edgeinspect-edgetpu-") as folder:
        command = [PROGRAM, "--show_operations", "--out_dir", folder, str(model.resolve())]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S,
                stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ModelRefused(f"{PROGRAM} did not finish within {DEADLINE_S} s.") from error
        except OSError as error:
            raise ModelRefused(f"{PROGRAM} could not be run: {error.strerror}.") from error
        report = parse_report(ended.stdout + "\n" + ended.stderr)
        made = next(iter(sorted(Path(folder).glob("*_edgetpu.tflite"))), None)
        if ended.returncode or not report.rows:
            raise ModelRefused(f"{PROGRAM} failed: {_last_words(ended.stdout, ended.stderr)}")
        if out is not None and made is not None:
            replace_file(out, made.read_bytes())
    return report


def _last_words(stdout: str, stderr: str) -> str:
    lines = [line.strip() for line in (stdout + "\n" + stderr).splitlines() if line.strip()]
    return " ".join(lines[-4:]) or "it printed nothing."
