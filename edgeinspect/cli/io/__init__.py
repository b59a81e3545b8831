"""``edgeinspect io``: look at inputs and drive outputs by hand.

It may import what ``cli`` may. Begin with ``io_command``.
"""
