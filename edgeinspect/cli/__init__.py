"""The command line: one file or one folder a command.

It may import every room. Begin with ``main`` lists the commands.
"""
