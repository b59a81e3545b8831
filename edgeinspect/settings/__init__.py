"""What people and tools write down: the station file, recipe revisions, the audit trail.

It may import ``bundle``, ``line`` and the rooms above them. Begin with ``station_file`` and
``recipe``; ``compile`` turns both into numbers for ``line``.
"""
