"""One step of a build: a program that must succeed."""

from __future__ import annotations

import os
import re
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
    fetches: str = "",
) -> str:
    """Run it and return its output; ends the whole program if it fails.

    Args:
        env: added to this process's own.
        stdin: what it reads.
        fetches: what it gets over the network: a failure is then told in one sentence, else by the
            program's last lines.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if shutil.which(command[0], path=path) is None:
        sys.exit(
            f"image: {command[0]} is not installed. Run: sudo apt-get install "
            "$(python -m image.qemu.build --packages)"
        )
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": path, **(env or {})},
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and fetches:
        sys.exit(
            f"image: {fetches} could not be fetched ({_reason(done.stdout + done.stderr)}). "
            "Look at the network and run it again; what was fetched before is kept."
        )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        sys.exit(f"image: {' '.join(command[:5])} … ended with {done.returncode}:\n{said}")
    return done.stdout


def _reason(said: str) -> str:
    """Why: the broken connection that pip warns of, else the first error of pip or apt."""
    found = re.search(r"broken by (.+)", said) or re.search(r"^(?:E|ERROR): (.+)", said, re.M)
    lines = said.split("\n") if found is None else [found[1]]
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason was given")


def say(what: str) -> None:
    sys.stderr.write(f"image: {what}\n")
    sys.stderr.flush()
