"""``edgeinspect demo``: the station on the simulated line.

It may import what ``cli`` may. Begin with ``demo_command``.
"""
