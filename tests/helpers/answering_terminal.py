"""The test's own end of a pseudo-terminal, which answers as real terminals do."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

from tests.helpers.terminal import DEADLINE_S


class AnsweringTerminal:
    """A program in a terminal that answers as it is told; 80 x 24 characters of 10 x 20 px.

    Args:
        answers: what each question gets, once.
    """

    def __init__(self, command: Sequence[str], *, answers: Mapping[bytes, bytes]) -> None:
        self._answers = dict(answers)
        self.output = b""
        self._master, slave = pty.openpty()
        ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
        environment = {k: v for k, v in os.environ.items() if k not in ("TMUX", "STY")}
        self.process = subprocess.Popen(
            list(command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environment, "TERM": "xterm-256color", "PYTHONPATH": str(Path.cwd())},
        )
        os.close(slave)

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, what: bytes | re.Pattern[bytes], *, times: int = 1, since: int = 0) -> int:
        """Until the output holds it so often after ``since``; where the output ends then."""
        pattern = re.compile(re.escape(what)) if isinstance(what, bytes) else what
        deadline = time.monotonic() + DEADLINE_S
        while len(pattern.findall(self.output, since)) < times:
            assert time.monotonic() < deadline, (what, self.output[since:][-3000:])
            assert self.read(1.0), (what, "the program ended", self.output[since:][-3000:])
        return len(self.output)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def read(self, timeout_s: float) -> bool:
        if not select.select([self._master], [], [], timeout_s)[0]:
            return True
        try:
            self.output += os.read(self._master, 65_536)
        except OSError:  # EIO: nobody has it open any more
            return False
        for question, answer in list(self._answers.items()):
            if question in self.output:
                del self._answers[question]
                os.write(self._master, answer)
        return True
