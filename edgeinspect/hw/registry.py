"""Drivers by their explicit names.

A station file names the driver it means. A name that this machine cannot serve is an error with
the one command that helps; there is never a fallback to another driver.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from edgeinspect.errors import DriverMissing, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverEntry:
    """Where a driver is, and its requirements.

    Attributes:
        module: name in this package; see ``IoModule`` and ``CameraModule`` of
            ``edgeinspect.runtime.opened_wires`` for its functions.
        library: the vendor's module that must be importable; "" if none is needed.
        install: the one command that installs it.
    """

    module: str
    library: str = ""
    install: str = ""


CAMERA_DRIVERS: Mapping[str, DriverEntry] = {
    "folder": DriverEntry(module="edgeinspect.hw.folder_camera"),
    "picamera2": DriverEntry(
        module="edgeinspect.hw.picamera2",
        library="picamera2",
        install="sudo apt install python3-picamera2",
    ),
    "v4l2": DriverEntry(
        module="edgeinspect.hw.v4l2",
        library="cv2",  # decodes the pictures of a camera that compresses them
        install="pip install opencv-python-headless",
    ),
}

IO_DRIVERS: Mapping[str, DriverEntry] = {
    "rpi-gpio": DriverEntry(
        module="edgeinspect.hw.rpi_gpio",
        library="RPi.GPIO",
        install="pip install rpi-lgpio",
    ),
    "gpiod": DriverEntry(
        module="edgeinspect.hw.gpiod", library="gpiod", install="pip install 'gpiod>=2'"
    ),
}


def resolve_driver(name: str, drivers: Mapping[str, DriverEntry], *, kind: str) -> object:
    """The module that implements the driver ``name``.

    Args:
        drivers: ``CAMERA_DRIVERS`` or ``IO_DRIVERS``.
        kind: "camera" or "io", for the error.

    Raises:
        UsageError: no driver of that name exists; lists those that do.
        DriverMissing: its vendor library, or the driver itself, is not installed.
    """
    entry = drivers.get(name)
    if entry is None:
        known = ", ".join(sorted(drivers))
        raise UsageError(f"There is no {kind} driver {name!r}; there are: {known}.")
    if entry.library and not _importable(entry.library):
        raise DriverMissing(
            f"The {kind} driver {name} needs {entry.library}, which is not installed.",
            next_action=f"Run: {entry.install}",
        )
    if not _importable(entry.module):
        raise DriverMissing(
            f"This version of edgeinspect has no {kind} driver {name} yet.",
            next_action="Run: pip install --upgrade edgeinspect",
        )
    return importlib.import_module(entry.module)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
