"""A camera driver of our own: what a file in ``edgeinspect/hw`` must offer, and no more."""

from __future__ import annotations

from edgeinspect.hw.fake_camera import FakeCamera
from edgeinspect.settings.station_file import Camera as CameraWiring


def open_driver(wiring: CameraWiring) -> FakeCamera:
    """See ``edgeinspect.hw.registry.CameraModule``."""
    assert wiring.driver == "toy"
    return FakeCamera()
