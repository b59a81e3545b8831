"""Thresholds: what would have become of recorded parts under others, and which to take.

It may import ``labels``, ``assembly`` and the rooms above them. Begin with ``whatif``.
"""
