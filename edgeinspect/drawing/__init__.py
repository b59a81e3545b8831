"""Draws parts and their score maps as pixels.

It may import ``records``, ``runtime`` and the rooms above them. Begin with ``part_drawing``.
"""
