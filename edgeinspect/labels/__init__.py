"""What people say that recorded parts are.

It may import ``records`` and the rooms above it. Begin with ``label_store``.
"""
