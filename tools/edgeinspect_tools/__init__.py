"""The PC side: from pictures, or a trained model, to a verified int8 bundle.

It may import every room of ``edgeinspect``; no room of ``edgeinspect`` imports it. Begin with
``cli``, which lists the commands; each has a room of its own.
"""
