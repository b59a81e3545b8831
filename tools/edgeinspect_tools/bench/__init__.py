"""``edgeinspect-tools bench``: measure this machine, each figure beside a baseline of the same run.

Begin with ``bench_command``, which lists the benchmarks.
"""
