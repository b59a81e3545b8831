"""The PC side: from pictures, or a trained model, to a verified int8 bundle.

It is installed as ``edgeinspect-tools``, a package of its own: a station has none of it.
It may import every room of ``edgeinspect``; no room of ``edgeinspect`` imports it. Begin with
``cli``, which lists the commands; each has a room of its own.
"""
