"""Studies of how well the station and people agree with the truth and with themselves.

It may import ``labels``, ``records`` and the rooms above them. Begin with ``study``.
"""
