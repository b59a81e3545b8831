"""Small things about files that every room may use.

Atomic writes, locks, YAML, JSON, CSV, pictures' bytes.

It may import ``errors`` and nothing else of ours. Begin with ``atomic_file`` and ``yaml_file``.
"""
