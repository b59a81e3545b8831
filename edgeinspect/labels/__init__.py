"""Labels: people say whether recorded parts are good or defective.

It may import ``records`` and the rooms above it. Begin with ``label_store``.
"""
