"""Benchmarks: figures with their percentiles, and ratios against a baseline of the same run."""
