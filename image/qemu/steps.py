"""One step of a build: a program that must succeed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> None:
    """Run it; ends the whole program with its last lines if it fails.

    Args:
        env: added to this process's own.
        stdin: what it reads.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if shutil.which(command[0], path=path) is None:
        sys.exit(f"image: {command[0]} is not installed; see HOST_PACKAGES of image/qemu/build.py.")
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": path, **(env or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        sys.exit(f"image: {' '.join(command[:5])} … ended with {done.returncode}:\n{said}")


def say(what: str) -> None:
    sys.stderr.write(f"image: {what}\n")
    sys.stderr.flush()
