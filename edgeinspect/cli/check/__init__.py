"""``edgeinspect check``: check files, or with ``--hardware`` the whole machine.

It may import what ``cli`` may. Begin with ``check_command``.
"""
