"""Thresholds: replay recorded parts with others, and suggest which to take.

It may import ``labels``, ``assembly`` and the rooms above them. Begin with ``whatif``.
"""
