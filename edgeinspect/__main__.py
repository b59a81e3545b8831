"""``python -m edgeinspect``: the same as the command ``edgeinspect``."""

from edgeinspect.cli.main import main

main()
