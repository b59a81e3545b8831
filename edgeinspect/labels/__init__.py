"""Labels: people mark recorded parts as good or defective.

It may import ``records`` and the rooms above it. Begin with ``label_store``.
"""
