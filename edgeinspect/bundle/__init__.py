"""A model and all that is needed to trust it.

Its card, its pixels, its golden data, the installed models.

It may import ``line`` and the rooms above it. Begin with ``directory`` reads a bundle;
``inspector`` runs it on a frame.
"""
