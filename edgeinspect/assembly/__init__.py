"""Where a station is put together from its files: the composition root.

It may import ``challenge``, ``runtime`` and the rooms above them. Begin with ``assemble``.
"""
