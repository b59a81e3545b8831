"""``edgeinspect-tools data``: read, judge and split a data set of pictures.

Begin with ``dataset_formats``, which finds out what lies in a folder; ``dataset`` is the result.
"""
