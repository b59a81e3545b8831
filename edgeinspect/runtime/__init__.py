"""The threads that drive the core on a real station.

It may import ``control``, ``hw``, ``sim`` and the rooms above them. Begin with ``station``, which
owns the threads; ``stages`` joins them and ``line_thread`` drives the core.
"""
