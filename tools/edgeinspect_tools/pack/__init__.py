"""``edgeinspect-tools pack``: a bundle made of a finished run.

Begin with ``bundle``.
"""
