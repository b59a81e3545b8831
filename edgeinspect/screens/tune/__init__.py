"""The tuning screen. ``start_screen.run`` starts it, and loads textual only then.

It may import what ``screens`` may. Begin with ``tune_screen``: it turns keys into changes of a
``TuneState``, and ``tune_drawing`` draws the resulting ``TuneView``.
"""
