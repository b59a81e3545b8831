"""Stands in for the display library that picamera2 imports: nothing is ever shown here."""

from __future__ import annotations


class _AnyFormat(type):
    def __getattr__(cls, name: str) -> str:
        return name


class PixelFormat(metaclass=_AnyFormat):
    """Every pixel format is its own name."""
