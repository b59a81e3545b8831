"""``edgeinspect-tools all``: from a folder of pictures to a bundle, in one command.

It may import every other room but ``shipped``. Begin with ``chain``.
"""
