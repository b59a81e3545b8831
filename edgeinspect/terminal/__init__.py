"""Output to a terminal: tables, questions and pictures.

It may import ``drawing`` and the rooms above it. Begin with ``output``. For pictures begin with
``graphics``; ``ask`` finds out which kind of picture a terminal can show.
"""
