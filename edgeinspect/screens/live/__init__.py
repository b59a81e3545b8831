"""The live screen: the last part, its score map and the counts, while the line runs.

It may import what ``screens`` may. Begin with ``live_screen``.
"""
