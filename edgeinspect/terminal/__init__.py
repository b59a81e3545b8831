"""Output to a terminal.

Tables, questions, and pictures in whatever way it can show them.

It may import ``drawing`` and the rooms above it. Begin with ``output``; ``graphics`` finds out how
to show a picture.
"""
