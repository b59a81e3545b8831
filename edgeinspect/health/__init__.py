"""Signs of wear and drift, from records and from the machine.

It may import ``records``, ``runtime`` and the rooms above them. Begin with ``compare``.
"""
