"""Every driver by the name that a station file gives it: cameras, lines and engines.

A driver is one file in ``edgeinspect/hw`` and one entry here. An entry holds what the rest of the
station has to know of the driver while its library is not loaded. A name that this machine cannot
serve is an error with the one command that helps; there is never a fallback to another driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Any

from pydantic import AfterValidator, Field

SIM = "sim"
"""Names the simulated line, which has no driver in ``edgeinspect/hw``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverEntry:
    """Where a driver is, and its requirements.

    Attributes:
        module: that implements it; ``edgeinspect.hw.registry`` has the Protocol for each kind.
        library: the vendor's module that must be importable; "" if none is needed.
        install: the one command that makes it so.
    """

    module: str
    library: str = ""
    install: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraEntry(DriverEntry):
    """A camera driver; its module offers what ``CameraModule`` says.

    Attributes:
        proof: which properties of a frame the driver can and cannot prove, in one sentence;
            ``{error}`` is replaced by the stamp error that the station file states.
        device: what ``camera.device`` must name, for the error; "" if it may be left out.
        replays_files: pictures come from files, again and again, whatever is on the belt.
        stamps_are_late: a frame's stamp is later than its exposure, by an unknown time.
        own_units: it counts exposure in steps, and gain in numbers without a known scale.
    """

    proof: str
    device: str = ""
    replays_files: bool = False
    stamps_are_late: bool = False
    own_units: bool = False


class LineNames(Enum):
    """How a driver of lines names them."""

    ANY = auto()
    CHIP_AND_LINE = auto()
    BCM_NUMBER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class IoEntry(DriverEntry):
    """A driver of input and output lines; its module offers what ``IoModule`` says.

    Attributes:
        names: how it names its lines.
        kernel_stamps: edges are stamped by the kernel, not later by a thread.
    """

    names: LineNames = LineNames.ANY
    kernel_stamps: bool = True


CAMERA_DRIVERS: dict[str, CameraEntry] = {
    "folder": CameraEntry(
        module="edgeinspect.hw.folder_camera",
        proof="files, shown in a loop and stamped on request",
        device="the folder",
        replays_files=True,
    ),
    "picamera2": CameraEntry(
        module="edgeinspect.hw.picamera2",
        library="picamera2",
        install="sudo apt install python3-picamera2",
        proof="the sensor's stamps must increase, and each is converted with a known error "
        "bound{error}; frames have no sensor counter; repeated pictures are rejected",
    ),
    "v4l2": CameraEntry(
        module="edgeinspect.hw.v4l2",
        library="cv2",  # decodes the pictures of a camera that compresses them
        install="pip install opencv-python-headless",
        proof="the kernel's stamps and counters must increase; a USB camera's stamps are later "
        "than its exposures{error}; repeated pictures are rejected",
        device="e.g. /dev/video0",
        stamps_are_late=True,
        own_units=True,
    ),
}

IO_DRIVERS: dict[str, IoEntry] = {
    "rpi-gpio": IoEntry(
        module="edgeinspect.hw.rpi_gpio",
        library="RPi.GPIO",
        install="pip install rpi-lgpio",
        names=LineNames.BCM_NUMBER,
        kernel_stamps=False,
    ),
    "gpiod": IoEntry(
        module="edgeinspect.hw.gpiod",
        library="gpiod",
        install="pip install 'gpiod>=2'",
        names=LineNames.CHIP_AND_LINE,
    ),
}

ENGINES: dict[str, DriverEntry] = {
    "none": DriverEntry(module="edgeinspect.hw.cpu_engine"),
    "edgetpu": DriverEntry(module="edgeinspect.hw.edgetpu_engine"),
}
"""By the accelerator that ``engine.delegate`` names."""


def _name_of(drivers: Mapping[str, DriverEntry], also: Iterable[str]) -> Any:
    """The type of a key that names a driver, which is looked up when a file is read."""
    beside = tuple(also)

    def known(name: str) -> str:
        names = (*beside, *drivers)
        if name not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return name

    def describe(schema: dict[str, Any]) -> None:
        schema["enum"] = [*beside, *drivers]

    return AfterValidator(known), Field(json_schema_extra=describe)


CameraDriverName = Annotated[str, *_name_of(CAMERA_DRIVERS, (SIM,))]
IoDriverName = Annotated[str, *_name_of(IO_DRIVERS, (SIM,))]
EngineName = Annotated[str, *_name_of(ENGINES, ())]
