"""Stands in for the display library that picamera2 imports: nothing is ever shown here."""

from __future__ import annotations


class PixelFormat:
    RGB888 = BGR888 = XRGB8888 = XBGR8888 = YUV420 = YVU420 = YUYV = YVYU = MJPEG = None
