"""Environments of their own for converters whose pins would break everybody else's.

The name of its folder depends on its packages, and it is made once; a second conversion
needs no network. pip's own settings and environment variables apply (``PIP_INDEX_URL``,
``PIP_FIND_LINKS``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeinspect.errors import DriverMissing, StorageFault
from edgeinspect.files.atomic_file import make_folder, replace_file
from edgeinspect.files.file_lock import exclusive
from edgeinspect.undo import undo_on_error

INSTALL_DEADLINE_S = 3600
_COMPLETE = "edgeinspect-complete"


def default_folder() -> Path:
    """The default folder for environments, in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgeinspect" / "converters"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that may or may not have been made yet.

    Attributes:
        name: what it is for, e.g. ``onnx``.
        requirements: for pip, with ranges.
        folder: of all environments.
    """

    name: str
    requirements: tuple[str, ...]
    folder: Path

    @property
    def path(self) -> Path:
        """Folder of the environment; its name changes with Python and the requirements."""
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        digest = hashlib.sha256("\n".join((python, *self.requirements)).encode()).hexdigest()
        return self.folder / f"{self.name}-py{python}-{digest[:10]}"

    @property
    def python(self) -> Path:
        """The environment's Python interpreter."""
        return self.path / "bin" / "python"

    def is_ready(self) -> bool:
        """Whether it was made, and made whole."""
        return (self.path / _COMPLETE).is_file() and self.python.exists()

    def make(self, *, say: Callable[[str], None] = lambda text: None) -> None:
        """Make it unless it is there; of two processes one makes it and the other waits.

        Raises:
            DriverMissing: pip could not install the requirements; with pip's last words.
            StorageFault: the folder cannot be written.
        """
        if self.is_ready():
            return
        make_folder(self.folder)
        lock = self.folder / f".{self.path.name}.lock"
        with exclusive(lock, timeout_s=INSTALL_DEADLINE_S):
            if self.is_ready():
                return
            say(f"Making the environment {self.path} for {', '.join(self.requirements)}.")
            # What an interrupted process left has no mark and is not to be trusted.
            shutil.rmtree(self.path, ignore_errors=True)
            with undo_on_error(shutil.rmtree, self.path, True):
                self._install()

    def _install(self) -> None:
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        install = [*pip, "install", "--quiet", "--only-binary=:all:", *self.requirements]
        for command in ([sys.executable, "-m", "venv", str(self.path)], install):
            ended = run_child(command, deadline_s=INSTALL_DEADLINE_S)
            if ended.code != 0:
                raise DriverMissing(
                    f"The environment for {self.name} could not be made: {ended.last_words}",
                    next_action="Check the network or set PIP_FIND_LINKS to a folder of wheels.",
                )
        listed = run_child([*pip, "freeze"], deadline_s=120)
        replace_file(self.path / _COMPLETE, listed.stdout.encode())


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended; ``code`` is None if it was killed at its deadline."""

    code: int | None
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The last lines of its output, on one line."""
        text = self.stderr.strip() or self.stdout.strip()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " ".join(lines[-3:])[-600:] or "it printed nothing."


def run_child(command: Sequence[str], *, deadline_s: float, folder: Path | None = None) -> Ended:
    """Run a program to its end or its deadline; then it and all its children are killed.

    Raises:
        StorageFault: it could not be started.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True, cwd=folder,
            env={**kept, "PYTHONNOUSERSITE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
    except OSError as error:
        raise StorageFault(f"{command[0]} could not be started: {error.strerror}.") from error
    with undo_on_error(_kill, process):
        try:
            stdout, stderr = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            stdout, stderr = _kill(process)
            return Ended(None, stdout, f"{stderr}\nstopped after {deadline_s:g} s")
    return Ended(process.returncode, stdout, stderr)


def _kill(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill a program and its children, and return the rest of its output."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()
