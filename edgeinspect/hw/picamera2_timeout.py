"""A sensor that waits for its trigger is silent between parts, and libcamera must allow for that.

The Raspberry Pi pipeline takes a camera for dead that is silent for some frames (libcamera issue
80, picamera2 issue 748). Its configuration file, named by an environment variable, sets another
limit.
"""

from __future__ import annotations

import atexit
import json
import os
import tempfile
from pathlib import Path

VARIABLE = "LIBCAMERA_RPI_CONFIG_FILE"
TIMEOUT_MS = 86_400_000
_COMPATIBLE = Path("/proc/device-tree/compatible")


def ask_for_long_timeout(*, compatible: Path = _COMPATIBLE) -> None:
    """Name a file with a time-out of a day, unless the operator has named one.

    Call this before picamera2 is imported, because otherwise it sets its own file.
    """
    if os.environ.get(VARIABLE):
        return
    try:
        board = compatible.read_bytes()
    except OSError:
        board = b""
    target = "pisp" if b"bcm2712" in board else "bcm2835"
    content = {
        "version": 1.0,
        "target": target,
        "pipeline_handler": {"camera_timeout_value_ms": TIMEOUT_MS},
    }
    with tempfile.NamedTemporaryFile(
        "w", prefix="edgeinspect-camera-", suffix=".yaml", delete=False
    ) as file:
        json.dump(content, file)  # JSON is YAML
    os.environ[VARIABLE] = file.name
    atexit.register(Path(file.name).unlink, missing_ok=True)
