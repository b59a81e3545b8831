"""``models/sim-surface``: defects of the simulated line's parts.

Begin with ``train_sim``.
"""
