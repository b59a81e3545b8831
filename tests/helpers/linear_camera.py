"""A camera whose brightness follows its exposure."""

from __future__ import annotations

import time

import numpy as np

from edgeinspect.part import CameraControls, Frame, FrameMeta


class LinearCamera:
    """Mean grey is ``brightness`` times exposure times gain; ``lag`` frames late to follow."""

    def __init__(self, *, brightness: float = 0.05, highlight: float = 1.0, lag: int = 2) -> None:
        self.brightness, self.highlight, self.lag = brightness, highlight, lag
        self.repeats = False
        self.stuck = False
        self.is_open = False
        self.coming_controls = [CameraControls()]
        self._sequence = 0
        self._noise = np.random.default_rng(3)

    def open_driver(self, wiring: object) -> LinearCamera:
        return self

    def open(self, controls: CameraControls) -> None:
        self.is_open = True
        self.coming_controls = [controls]

    def apply(self, controls: CameraControls) -> None:
        if not self.stuck:
            self.coming_controls += [self.coming_controls[-1]] * self.lag + [controls]

    def capture(self, *, not_before_mono_ns: int, deadline_mono_ns: int) -> Frame:
        if len(self.coming_controls) > 1:
            self.coming_controls.pop(0)
        now = self.coming_controls[0]
        light = (now.exposure_us or 1000.0) * (now.gain or 1.0) * self.brightness
        pixels = np.full((60, 80), light, np.float64)
        pixels[:6, :8] *= self.highlight  # 1 % of the picture
        pixels += self._noise.normal(0, 0 if self.repeats else 1, pixels.shape)
        self._sequence += 1
        begin = max(not_before_mono_ns, time.monotonic_ns() - 1)
        meta = FrameMeta(self._sequence, begin, begin + 2_000_000, now)
        return Frame(meta, np.clip(pixels, 0, 255).astype(np.uint8))

    def check(self) -> None:
        pass

    def close(self) -> None:
        self.is_open = False
