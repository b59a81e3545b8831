"""``edgeinspect-tools verify``: a bundle on pictures it has never seen, through the station's path.

Begin with ``measure``.
"""
