"""The Edge TPUs that the kernel shows, and which models are made for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OPERATOR = b"edgetpu-custom-op"
_USB_IDS = {("1a6e", "089a"): "before its firmware", ("18d1", "9302"): "with its firmware"}
_USB_3_MBIT_PER_S = 5000


def is_compiled(model: bytes) -> bool:
    """Whether the Edge TPU compiler has been over this model: its one operator is named in it."""
    return OPERATOR in model


@dataclass(frozen=True, slots=True)
class EdgeTpu:
    """One accelerator that the kernel shows.

    Attributes:
        kind: "usb" or "pci".
        place: the USB port or device node.
        mbit_per_s: of the USB port; None for PCIe.
        detail: for people.
    """

    kind: str
    place: str
    mbit_per_s: int | None = None
    detail: str = ""

    @property
    def is_slow_port(self) -> bool:
        """On USB 2 the transfers take longer than most models."""
        return self.mbit_per_s is not None and self.mbit_per_s < _USB_3_MBIT_PER_S


def find_edgetpus(
    *, usb: Path = Path("/sys/bus/usb/devices"), nodes: Path = Path("/dev")
) -> list[EdgeTpu]:
    """Every accelerator on USB (its id changes when its firmware is loaded) and on PCIe."""
    found = [EdgeTpu("pci", str(node)) for node in sorted(nodes.glob("apex_[0-9]*"))]
    for device in sorted(usb.glob("*")):
        ids = (_word(device / "idVendor"), _word(device / "idProduct"))
        if ids in _USB_IDS:
            speed = _word(device / "speed")
            mbit = int(float(speed)) if speed.replace(".", "", 1).isdecimal() else None
            found.append(EdgeTpu("usb", device.name, mbit, _USB_IDS[ids]))
    return found


def _word(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
