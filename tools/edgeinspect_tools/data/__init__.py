"""``edgeinspect-tools data``: check and split a data set of pictures.

Begin with ``dataset_formats``, which recognises and reads a data set; ``dataset`` is the result.
"""
