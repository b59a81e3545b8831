"""The challenge: numbered master parts prove that the station still sees and still rejects.

It may import ``runtime`` and the rooms above it. Begin with ``challenge_machine``, which decides
everything without I/O; ``challenge_service`` is the thread, the files and the clock around it.
"""
