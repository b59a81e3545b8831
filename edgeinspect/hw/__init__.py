"""Drivers.

One a file, one vendor library each, opened by name. Each seam's strict fake lies beside it.

It may import ``bundle``, ``settings``, ``records`` and the rooms above them. Begin with
``registry`` names the drivers; ``edgeinspect.ports`` has the seams.
"""
