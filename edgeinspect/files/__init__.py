"""What every room may need for files: atomic writes, locks, YAML, JSON, CSV, pictures and reports.

It may import ``errors`` and nothing else of ours. Begin with ``atomic_file`` and ``yaml_file``.
"""
