"""What picamera2 needs on libcamera's virtual pipeline: memory, and modes in place of raw ones."""

from __future__ import annotations

import mmap
import os
from typing import Any

import libcamera
import picamera2.picamera2
from picamera2.allocators.allocator import Allocator


class _NoSync:
    """Ordinary memory needs no flushing of caches."""

    def __init__(self, allocator: MemfdAllocator, buffer: Any, write: bool) -> None:
        self._map = allocator.mapped_buffers[buffer]

    def __enter__(self) -> mmap.mmap:
        return self._map

    def __exit__(self, *_: object) -> None:
        pass


class MemfdAllocator(Allocator):  # type: ignore[misc]  # picamera2 has no types
    """Attributes:
    mapped_buffers: the memory of each frame buffer.
    live: buffers of all allocators that are mapped now, for leak tests.
    """

    live = 0

    def __init__(self) -> None:
        super().__init__()
        self.sync = _NoSync
        self.mapped_buffers: dict[Any, mmap.mmap] = {}
        self._by_stream: dict[Any, list[Any]] = {}

    def allocate(self, configuration: Any, _: object) -> None:
        self.close()
        for stream in configuration:
            size, stride = stream.size, stream.stride
            luma = stride * size.height
            buffers = []
            for number in range(stream.buffer_count):
                descriptor = os.memfd_create(f"camera-bench-{number}")
                os.ftruncate(descriptor, stream.frame_size)
                planes = []
                for offset, length in ((0, luma), (luma, stream.frame_size - luma)):
                    plane = libcamera.FrameBuffer.Plane()
                    plane.fd, plane.offset, plane.length = descriptor, offset, length
                    planes.append(plane)
                buffers.append(libcamera.FrameBuffer(planes))
                self.mapped_buffers[buffers[-1]] = mmap.mmap(descriptor, stream.frame_size)
                MemfdAllocator.live += 1
                os.close(descriptor)  # libcamera and the map have their own
            self._by_stream[stream.stream] = buffers

    def buffers(self, stream: Any) -> list[Any]:
        return self._by_stream[stream]

    def close(self) -> None:
        MemfdAllocator.live -= len(self.mapped_buffers)
        self.mapped_buffers, self._by_stream = {}, {}

    def __del__(self) -> None:
        self.close()


def _viewfinder_modes(camera: Any) -> list[dict[str, Any]]:
    """The virtual pipeline has no raw stream to ask for modes; the pictures' own stand in."""
    formats = camera.camera.generate_configuration([libcamera.StreamRole.Viewfinder]).at(0).formats
    return [
        {"format": str(pixels), "size": (size.width, size.height)}
        for pixels in formats.pixel_formats
        for size in formats.sizes(pixels)
    ]


def install() -> None:
    """Every Picamera2 made from now on runs on the virtual pipeline."""
    picamera2.picamera2.DmaAllocator = MemfdAllocator
    picamera2.Picamera2._get_raw_modes = _viewfinder_modes  # noqa: SLF001  the library's
