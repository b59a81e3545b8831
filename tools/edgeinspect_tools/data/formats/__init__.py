"""The dataset formats that the tools read, one file each.

Begin with ``dataset_format``, which says what a format is. To add one, write a file like
``mvtec`` and name it in the table ``FORMATS`` of ``data/dataset_formats.py``.
"""
