"""The challenge: numbered master parts prove that the station still sees and still rejects.

It may import ``runtime`` and the rooms above it. Begin with ``policy`` says when one is due,
``conductor`` runs one in the station.
"""
