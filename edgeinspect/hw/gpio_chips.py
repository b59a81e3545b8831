"""GPIO chips and their lines, found by label and name through ``gpiod`` 2.x."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeinspect.errors import DriverMissing, LineFault
from edgeinspect.hw.gpio_faults import chip_devices, gone, no_permission


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFacts:
    """What the kernel says of one line.

    Attributes:
        name: of the line, "" if it has none.
        consumer: who holds it; "" if nobody does.
        direction: "input" or "output".
    """

    offset: int
    name: str
    used: bool
    consumer: str
    direction: str
    active_low: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipFacts:
    """One GPIO chip and its lines."""

    device: Path
    label: str
    lines: tuple[LineFacts, ...]


def vendor() -> Any:
    """The module ``gpiod``, version 2. Raises DriverMissing."""
    try:
        import gpiod
    except ImportError as error:
        raise DriverMissing(
            "The io driver gpiod needs the library gpiod, which is not installed.",
            next_action="Run: pip install 'gpiod>=2'",
        ) from error
    if not hasattr(gpiod, "LineSettings"):
        raise DriverMissing(
            f"The io driver gpiod needs gpiod 2; version {getattr(gpiod, '__version__', '1')} is "
            "installed.",
            next_action="Run: pip install --upgrade 'gpiod>=2'",
        )
    return gpiod


def open_chip(label: str) -> Any:
    """The chip with this label, as gpiod's ``Chip``.

    Raises:
        LineFault: there is none, there are two, or this user may open none of them.
    """
    gpiod = vendor()
    found, labels, denied = [], [], []
    for device in chip_devices():
        try:
            chip = gpiod.Chip(str(device))
            known = chip.get_info().label
        except PermissionError:
            denied.append(device)
        except OSError:
            continue  # unplugged while we looked
        else:
            labels.append(known)
            if known == label:
                found.append(chip)
            else:
                chip.close()
    if len(found) == 1:
        return found[0]
    for chip in found:
        chip.close()
    if found:
        raise LineFault(
            f"{len(found)} GPIO chips have the label {label!r}.",
            next_action="Unplug one of them: the station finds its chip by the label.",
        )
    if denied:
        raise no_permission(", ".join(map(str, denied)))
    there_are = f"found: {', '.join(sorted(labels))}" if labels else "this machine has no GPIO chip"
    raise LineFault(
        f"No GPIO chip has the label {label!r}; {there_are}.",
        next_action="Correct io.chip in the station file, or plug the chip in and check the "
        "device tree overlay; see: edgeinspect io list",
    )


def line_offset(chip: Any, line: int | str, label: str) -> int:
    """The offset of a line given by offset or name. Raises LineFault."""
    try:
        count = chip.get_info().num_lines
        if isinstance(line, str):
            return int(chip.line_offset_from_id(line))
    except OSError as error:
        if isinstance(line, str) and error.errno == 2:  # ENOENT
            raise _no_such_line(line, label, _names(chip)) from error
        raise gone(f"{line} of {label}") from error
    if line >= count:
        raise LineFault(
            f"The chip {label} has no line {line}; its lines are 0 to {count - 1}.",
            next_action="Correct the line in the station file; see: edgeinspect io list",
        )
    return line


def list_chips() -> Iterator[ChipFacts]:
    """Every chip that this user may open.

    Raises:
        LineFault: there are chips and this user may open none of them.
    """
    gpiod = vendor()
    denied, shown = [], 0
    for device in chip_devices():
        try:
            with gpiod.Chip(str(device)) as chip:
                info = chip.get_info()
                lines = tuple(_facts(chip.get_line_info(n)) for n in range(info.num_lines))
        except PermissionError:
            denied.append(device)
            continue
        except OSError:
            continue
        shown += 1
        yield ChipFacts(device=device, label=info.label, lines=lines)
    if denied and not shown:
        raise no_permission(", ".join(map(str, denied)))


def holder_of(chip: Any, offset: int) -> str:
    """Who uses the line, "" where the kernel does not say."""
    with contextlib.suppress(OSError):
        return str(chip.get_line_info(offset).consumer or "")
    return ""


def _facts(info: Any) -> LineFacts:
    return LineFacts(
        offset=info.offset,
        name=info.name or "",
        used=info.used,
        consumer=info.consumer or "",
        direction=info.direction.name.lower(),
        active_low=info.active_low,
    )


def _names(chip: Any) -> list[str]:
    with contextlib.suppress(OSError):
        count = chip.get_info().num_lines
        return [name for n in range(count) if (name := chip.get_line_info(n).name)]
    return []


def _no_such_line(line: str, label: str, names: list[str]) -> LineFault:
    import difflib

    near = difflib.get_close_matches(line, names, n=3)
    if near:
        hint = f"Similar names: {', '.join(near)}"
    elif names:
        hint = f"It has the lines {', '.join(names[:4])} and others"
    else:
        hint = "Its lines have no names; give the line's number"
    return LineFault(
        f"The chip {label} has no line named {line!r}.",
        next_action=f"{hint}; see: edgeinspect io list",
    )
