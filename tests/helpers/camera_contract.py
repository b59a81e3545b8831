"""What every camera driver promises, and its fake: the same cases for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgeinspect.errors import CameraFault, EdgeInspectError
from edgeinspect.part import CameraControls
from edgeinspect.ports import Camera

NO_CONTROLS = CameraControls()
S = 1_000_000_000


class CameraContract:
    """Subclasses say how their cameras are had; None skips a case, with ``why_not``."""

    color_channels: int | None = None
    """None: grey pictures."""
    patience_s = 10.0
    why_not = "this driver has no such camera"

    def make(self) -> Camera:
        """A camera that works."""
        raise NotImplementedError

    def make_missing(self) -> Camera | None:
        """A camera that is not there."""
        return None

    def make_wrong_format(self) -> Camera | None:
        """A camera that cannot deliver the size that the station file asks for."""
        return None

    def make_forbidden(self) -> Camera | None:
        """A camera that this user may not open."""
        return None

    def make_busy(self) -> Camera | None:
        """A camera that another program holds."""
        return None

    def unplug(self, camera: Camera) -> bool:
        """Take the camera away while it runs; False if that cannot be done here."""
        return False

    @pytest.fixture
    def camera(self) -> Iterator[Camera]:
        camera = self.make()
        yield camera
        camera.close()

    def capture(self, camera: Camera, *, ahead_ns: int = 0) -> object:
        now = time.monotonic_ns()
        return camera.capture(
            not_before_mono_ns=now + ahead_ns,
            deadline_mono_ns=now + ahead_ns + int(self.patience_s * S),
        )

    def test_frames_are_fresh_numbered_and_read_only(self, camera: Camera) -> None:
        camera.open(NO_CONTROLS)
        last_sequence, last_exposure = -1, 0
        for _ in range(4):
            asked = time.monotonic_ns()
            frame = camera.capture(
                not_before_mono_ns=asked, deadline_mono_ns=asked + int(self.patience_s * S)
            )
            meta, now = frame.meta, time.monotonic_ns()
            assert asked <= meta.exposure_mono_ns <= meta.arrived_mono_ns <= now
            assert meta.sequence > last_sequence and meta.exposure_mono_ns > last_exposure
            last_sequence, last_exposure = meta.sequence, meta.exposure_mono_ns
            assert frame.pixels.dtype == np.uint8 and not frame.pixels.flags.writeable
            assert frame.pixels.shape[2:] == (
                () if self.color_channels is None else (self.color_channels,)
            )

    def test_a_frame_outlives_its_camera(self, camera: Camera) -> None:
        camera.open(NO_CONTROLS)
        frame = self.capture(camera)
        before = frame.pixels.copy()  # type: ignore[attr-defined]
        for _ in range(8):
            self.capture(camera)
        camera.close()
        assert np.array_equal(frame.pixels, before)  # type: ignore[attr-defined]

    def test_a_request_whose_time_is_over_is_refused(self, camera: Camera) -> None:
        camera.open(NO_CONTROLS)
        now = time.monotonic_ns()
        with pytest.raises(CameraFault):
            camera.capture(not_before_mono_ns=now + 3600 * S, deadline_mono_ns=now)

    def test_opened_twice(self, camera: Camera) -> None:
        camera.open(NO_CONTROLS)
        with pytest.raises(EdgeInspectError, match="already open"):
            camera.open(NO_CONTROLS)
        self.capture(camera)

    def test_closed_and_opened_again(self, camera: Camera) -> None:
        uses: tuple[Callable[[], object], ...] = (
            lambda: self.capture(camera),
            camera.check,
            lambda: camera.apply(NO_CONTROLS),
        )
        for use in uses:
            with pytest.raises(EdgeInspectError, match="not open"):
                use()
        for _ in range(2):
            camera.open(NO_CONTROLS)
            camera.check()
            self.capture(camera)
            camera.close()
            camera.close()

    @pytest.mark.parametrize(
        ("case", "words"),
        [
            ("make_missing", "does not exist|There is no|No camera|is connected"),
            ("make_wrong_format", "cannot deliver|has no"),
            ("make_forbidden", "may not be used"),
            ("make_busy", "another program|Another program"),
        ],
    )
    def test_cameras_that_cannot_be_had(self, case: str, words: str) -> None:
        camera = getattr(self, case)()
        if camera is None:
            pytest.skip(self.why_not)
        with pytest.raises(CameraFault, match=words) as caught:
            camera.open(NO_CONTROLS)
        assert caught.value.next_action
        with pytest.raises(EdgeInspectError, match="not open"):
            self.capture(camera)
        camera.close()

    def test_unplugged_in_the_middle(self, camera: Camera) -> None:
        camera.open(NO_CONTROLS)
        self.capture(camera)
        if not self.unplug(camera):
            pytest.skip(self.why_not)
        with pytest.raises(CameraFault):
            self.capture(camera)
        with pytest.raises(CameraFault):
            camera.check()
        camera.close()
