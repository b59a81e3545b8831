"""``edgeinspect camera``: set the camera up and check it.

It may import what ``cli`` may. Begin with ``camera_command``.
"""
