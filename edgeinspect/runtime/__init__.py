"""The threads that drive the core on a real station.

It may import ``control``, ``hw``, ``sim`` and the rooms above them. Begin with ``station`` owns the
threads; ``line_thread`` drives the core.
"""
