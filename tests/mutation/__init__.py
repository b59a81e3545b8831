"""Mutation testing of the part's path: ``python -m tests.mutation``.

``mutants`` makes small changes to ``edgeinspect/line``, ``run`` looks whether a test notices each.
Those that no test can notice are listed, with one word why, in ``equivalent.txt``.
"""
