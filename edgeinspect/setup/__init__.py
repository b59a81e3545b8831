"""The first start: a station is set up from ``station.conf`` and the files next to it.

It may import ``runtime`` and the rooms above it. Begin with ``importing``.
"""
