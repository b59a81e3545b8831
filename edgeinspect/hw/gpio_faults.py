"""Errors of GPIO lines, in sentences that name the line, the cause and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgeinspect.errors import LineFault

CONSUMER_PREFIX = "edgeinspect"
UDEV_RULE = 'SUBSYSTEM=="gpio", KERNEL=="gpiochip*", GROUP="gpio", MODE="0660"'
DEVICE_FOLDER = Path("/dev")


def consumer() -> str:
    """How the kernel names this process as the holder of its lines, at most 31 characters."""
    return f"{CONSUMER_PREFIX}-{os.getpid()}"


def chip_devices(folder: Path = DEVICE_FOLDER) -> list[Path]:
    """Every GPIO chip's device file, in the order of their numbers."""
    found = [path for path in folder.glob("gpiochip*") if path.name[8:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[8:]))


def line_fault(
    error: Exception, *, line: str, holder: str = "", doing: str = "opened"
) -> LineFault:
    """Translate the vendor's error about one line into a LineFault with a next action.

    Args:
        error: the vendor's error.
        line: the line's name for people, e.g. "GPIO17 of pinctrl-rp1".
        holder: who uses the line, if the kernel reports it.
        doing: the attempted action: "opened", "read", "driven".
    """
    number = getattr(error, "errno", None)
    if number == errno.EBUSY:
        return busy(line, holder)
    if number in (errno.EACCES, errno.EPERM):
        return no_permission(line)
    if number in (errno.ENODEV, errno.ENXIO, errno.EPIPE):
        return gone(line)
    if number == errno.EINVAL:
        return LineFault(
            f"The line {line} could not be {doing}: the chip rejects its settings ({error}).",
            next_action="Set its bias to as-is and its debounce_us to 0, or use another line.",
        )
    return LineFault(
        f"The line {line} could not be {doing}: {error}.",
        next_action="Check the kernel log: dmesg | grep -i gpio",
    )


def busy(line: str, holder: str = "") -> LineFault:
    """Return the fault of a line that somebody else uses."""
    by = f"by {holder!r}" if holder else "by another program or a kernel driver"
    remedy = "Stop it, or use another line; see: edgeinspect io list"
    if holder.startswith(f"{CONSUMER_PREFIX}-"):
        pid = holder.removeprefix(f"{CONSUMER_PREFIX}-")
        remedy = f"Stop process {pid} of edgeinspect first."
    return LineFault(f"The line {line} is in use {by}.", next_action=remedy)


def no_permission(what: str) -> LineFault:
    """Return the fault of a missing permission."""
    return LineFault(
        f"The user {os.geteuid()} has no permission to use {what}.",
        next_action="Add the user to the group gpio (sudo usermod -aG gpio USER, then log in "
        f"again). If the devices do not belong to that group, add the udev rule: {UDEV_RULE}",
    )


def gone(line: str) -> LineFault:
    """Return the fault of a chip that was removed."""
    return LineFault(
        f"The GPIO chip of the line {line} was removed or has failed.",
        next_action="Check its cable and power, then restart the station.",
    )
