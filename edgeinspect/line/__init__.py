"""The path of one part, as a deterministic machine: events in, actions out.

It has no thread, clock or file. It may import ``part``, ``ports`` and ``errors``. Begin with
``core``; then ``trigger``, ``frame``, ``tiles``, ``scores``, ``verdict``, ``ledger``, ``reject``.
"""
