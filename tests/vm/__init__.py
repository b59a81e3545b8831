"""A virtual machine that gives the drivers real kernel devices: ``python -m tests.vm --help``.

``image`` builds the guest from Debian packages, ``machine`` boots it and runs commands in it, and
``guest/`` holds the tests that run inside.
"""
