"""``python -m edgeinspect``: the same as the command ``edgeinspect``."""

from edgeinspect.ui.cli import main

main()
