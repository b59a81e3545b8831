"""The training methods, one file each.

Begin with ``training_method``, which says what a method is. To add one, write a file like
``linear_head`` and name it in the table ``METHODS`` of ``train/training_methods.py``.
"""
