"""What a frame must be like before its scores count: one file for each thing that is measured.

May import ``edgeinspect.part``. Begin with ``all_checks``, the table of every check. A new check
is one file here and one line in that table; its limit is then a key of the recipe's ``checks``.
"""
