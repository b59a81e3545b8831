"""How the bundles in ``models/`` were made; a room for each.

It may import every other room of the tools.
"""
