"""The simulated line.

Parts, belt, sensors, camera and gate, on virtual time or on the real clock.

It may import ``hw`` and the rooms above it. Begin with ``world``; ``injected_faults`` has the
faults, ``truth`` the account at the end.
"""
