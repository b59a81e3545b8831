"""Studies of how well station and people agree with the truth and with themselves.

It may import ``labels``, ``records`` and the rooms above them. Begin with ``study``.
"""
