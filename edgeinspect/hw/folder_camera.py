"""A camera that shows the pictures of a folder, one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from edgeinspect.errors import CameraFault, UsageError
from edgeinspect.files.picture_bytes import MAX_PIXELS
from edgeinspect.hw.picture_file import MAX_FILE_BYTES, read_picture
from edgeinspect.part import CameraControls, Frame, FrameMeta
from edgeinspect.ports import Camera

if TYPE_CHECKING:
    from edgeinspect.settings.station_file import Camera as CameraWiring


def list_pictures(folder: str | os.PathLike[str], *, pattern: str = "*") -> tuple[Path, ...]:
    """Return every file below ``folder`` whose name matches ``pattern``, in the order of paths.

    Hidden files and folders (a leading dot) are left out, and links to folders are not followed.
    Files are not checked here, so that a file which is not a picture is reported and not skipped.

    Raises:
        UsageError: the folder is missing, is not a folder, cannot be listed or has no such file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder.", next_action="Give a folder of pictures.")
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    for directory, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(directory, name)
            for name in names
            if not name.startswith(".") and Path(name).match(pattern)
        ]
    if not found:
        raise UsageError(f"{root} contains no file that matches {pattern}.")
    return tuple(sorted(found))


def open_driver(wiring: CameraWiring) -> FolderCamera:
    """The camera of a station file: shows the folder ``device`` again and again."""
    return FolderCamera(list_pictures(wiring.device or "."), repeat=True)


class FolderCamera(Camera):
    """Serves the given files in order; each capture shows the next one.

    A file that cannot be read costs its own capture a CameraFault that names it; the capture
    after that gets the next file. After the last file every capture fails.
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        *,
        repeat: bool = False,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_pixels: int = MAX_PIXELS,
        now_mono_ns: Callable[[], int] = time.monotonic_ns,
        sleep_until_mono_ns: Callable[[int], None] | None = None,
    ) -> None:
        """Make a camera that shows files.

        Args:
            files: see ``list_pictures``.
            repeat: start again after the last file.
            max_file_bytes: larger files are rejected.
            max_pixels: pictures with more pixels are rejected.
            now_mono_ns: the clock; replaced where time is virtual.
            sleep_until_mono_ns: how to wait; replaced where time is virtual.
        """
        self._files = tuple(Path(file) for file in files)
        self._repeat = repeat
        self._max_file_bytes = max_file_bytes
        self._max_pixels = max_pixels
        self._now_mono_ns = now_mono_ns
        self._sleep_until = sleep_until_mono_ns or _sleep_until_mono_ns
        self._next = 0
        self._is_open = False

    def open(self, controls: CameraControls) -> None:
        """Pictures were exposed long ago: ``controls`` are accepted and have no effect."""
        if self._is_open:
            raise CameraFault("The folder camera is already open.")
        if not self._files:
            raise CameraFault("The folder camera has no files.")
        self._is_open = True

    @override
    def apply(self, controls: CameraControls) -> None:
        self._require_open()

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        """Show the next file as if exposed at ``not_before_mono_ns``, or now if that has passed."""
        self._require_open()
        sequence = self._next
        if sequence >= len(self._files) and not self._repeat:
            raise CameraFault(f"All {len(self._files)} pictures of the folder have been shown.")
        self._next += 1
        exposure_mono_ns = max(not_before_mono_ns, self._now_mono_ns())
        if exposure_mono_ns > deadline_mono_ns:
            raise CameraFault("The capture was requested after its deadline.")
        self._sleep_until(exposure_mono_ns)
        file = self._files[sequence % len(self._files)]
        pixels = read_picture(
            file, max_file_bytes=self._max_file_bytes, max_pixels=self._max_pixels
        )
        meta = FrameMeta(
            sequence=sequence,
            exposure_mono_ns=exposure_mono_ns,
            arrived_mono_ns=self._now_mono_ns(),
            source=str(file),
        )
        return Frame(meta=meta, pixels=pixels)

    def check(self) -> None:
        """A folder does not stop by itself; a missing file costs its own capture."""
        self._require_open()

    @override
    def close(self) -> None:
        self._is_open = False

    def _require_open(self) -> None:
        if not self._is_open:
            raise CameraFault("The folder camera is not open.")


def _sleep_until_mono_ns(target_mono_ns: int) -> None:
    remaining_ns = target_mono_ns - time.monotonic_ns()
    if remaining_ns > 0:
        time.sleep(remaining_ns / 1e9)
