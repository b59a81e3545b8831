"""Starts one station after the other, each a fork of a process that has imported everything.

Under emulation the imports take half a minute; what a kill is to hit comes after them.
    python nursery.py station.yaml      a line on stdin starts one; its pid, then "ended" come back
"""

from __future__ import annotations

import importlib
import os
import sys

STATION_NEEDS = (
    "edgeinspect.assembly.assemble",
    "edgeinspect.cli.run_command",
    "edgeinspect.hw.litert",
    "edgeinspect.hw.gpiod",
    "edgeinspect.hw.v4l2",
    *("ai_edge_litert.interpreter", "gpiod", "numpy.random", "email.message"),
)


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(config: str) -> None:
    for needed in STATION_NEEDS:
        importlib.import_module(needed)
    from edgeinspect.cli.application import run_command_line
    from edgeinspect.cli.main import application

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
