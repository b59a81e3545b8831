"""The first start: a station is set up from ``station.conf`` and what lies beside it.

It may import ``runtime`` and the rooms above it. Begin with ``importing``.
"""
