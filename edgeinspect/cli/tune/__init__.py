"""``edgeinspect tune``: the tuning screen, what-if and suggestions.

It may import what ``cli`` may. Begin with ``tune_command``.
"""
