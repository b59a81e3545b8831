"""Starts one station after the other, each a fork of a process that has imported everything.

Under emulation the imports take half a minute; what a kill is to hit comes after them.
    python nursery.py station.yaml      a line on stdin starts one; its pid, then "ended" come back
"""

from __future__ import annotations

import os
import sys


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(config: str) -> None:
    from edgeinspect.runtime import assemble  # noqa: F401  imports what a station needs
    from edgeinspect.ui import run  # noqa: F401
    from edgeinspect.ui.application import run_command_line
    from edgeinspect.ui.cli import application

    say("ready")
    while sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            code = run_command_line(
                application, program="edgeinspect", arguments=["run", "--config", config]
            )
            os._exit(code)
        say(str(pid))
        os.waitpid(pid, 0)
        say("ended")


if __name__ == "__main__":
    main(sys.argv[1])
