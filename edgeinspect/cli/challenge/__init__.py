"""``edgeinspect challenge``: run, list and check challenges.

It may import what ``cli`` may. Begin with ``challenge_command``.
"""
