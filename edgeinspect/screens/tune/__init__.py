"""The tuning screen. ``start_screen.run`` starts it, and loads textual only then.

It may import what ``screens`` may. Begin with ``tune_screen`` turns keys into a ``tune_view``;
``tune_drawing`` draws it.
"""
