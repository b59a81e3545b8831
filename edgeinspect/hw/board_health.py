"""Temperature, throttling and under-voltage of the board, from the kernel or from vcgencmd.

A Raspberry Pi's firmware keeps one word of flags (documentation of ``vcgencmd get_throttled``):

    bit 0  under-voltage now              bit 16  under-voltage since the start bit 1  processor
    clock capped now     bit 17  capped since the start bit 2  throttled now                  bit 18
    throttled since the start bit 3  soft temperature limit now     bit 19  soft temperature limit
    since the start

The Pi's own kernels show the word in a file; elsewhere ``vcgencmd`` asks the firmware. The mainline
kernel reports under-voltage through the alarm of its ``rpi_volt`` sensor. Any other board has at
most thermal zones.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeinspect.errors import UsageError
from edgeinspect.ports import BoardState

_THROTTLED_FILES = (
    "devices/platform/soc*/*firmware*/get_throttled",
    "devices/platform/soc*/*/*firmware*/get_throttled",
    "devices/platform/*firmware*/get_throttled",
)
_UNDER_VOLTAGE = 1 << 0
_SLOWED = 1 << 1 | 1 << 2 | 1 << 3
_BEFORE_SHIFT = 16


class SystemBoard:
    """The board that this program runs on.

    Args:
        sys: the kernel's file tree.
        model_file: the kernel's file with the name of the board.
        vcgencmd: the firmware's command line tool; need not exist.
        deadline_s: the longest wait for its answer.
    """

    def __init__(
        self,
        *,
        sys: Path = Path("/sys"),
        model_file: Path = Path("/proc/device-tree/model"),
        vcgencmd: str = "vcgencmd",
        deadline_s: float = 1.0,
    ) -> None:
        self._sys = sys
        self._model_file = model_file
        self._vcgencmd = vcgencmd
        self._deadline_s = deadline_s

    def read(self) -> BoardState:
        """See ``edgeinspect.ports.Board``; takes at most two seconds if the firmware hangs."""
        flags = self._flags()
        voltage_alarm = self._voltage_alarm()
        if flags is None:
            return BoardState(
                model=self._model(),
                temperature_c=self._temperature_c(),
                under_voltage=voltage_alarm,
            )
        before = flags >> _BEFORE_SHIFT
        return BoardState(
            model=self._model(),
            temperature_c=self._temperature_c(),
            under_voltage=bool(flags & _UNDER_VOLTAGE) or bool(voltage_alarm),
            under_voltage_before=bool(before & _UNDER_VOLTAGE),
            throttled=bool(flags & _SLOWED),
            throttled_before=bool(before & _SLOWED),
        )

    def _model(self) -> str:
        return (_text(self._model_file) or "").strip("\0 \n")

    def _temperature_c(self) -> float | None:
        """Of the hottest processor zone; of the hottest zone where none is named so."""
        zones: dict[str, list[float]] = {"cpu": [], "other": []}
        for folder in sorted((self._sys / "class/thermal").glob("thermal_zone*")):
            kind = (_text(folder / "type") or "").lower()
            milli_c = _number(_text(folder / "temp"), base=10)
            if milli_c is not None:
                named = "cpu" in kind or "x86_pkg" in kind
                zones["cpu" if named else "other"].append(milli_c / 1000)
        found = zones["cpu"] or zones["other"]
        return max(found) if found else None

    def _flags(self) -> int | None:
        for pattern in _THROTTLED_FILES:
            for path in sorted(self._sys.glob(pattern)):
                flags = _number(_text(path), base=16)
                if flags is not None:
                    return flags
        answer = _output([self._vcgencmd, "get_throttled"], deadline_s=self._deadline_s)
        if answer is None or not answer.startswith("throttled="):
            return None
        return _number(answer.removeprefix("throttled="), base=16)

    def _voltage_alarm(self) -> bool | None:
        for folder in sorted((self._sys / "class/hwmon").glob("hwmon*")):
            if (_text(folder / "name") or "").strip() == "rpi_volt":
                alarm = _number(_text(folder / "in0_lcrit_alarm"), base=10)
                return None if alarm is None else bool(alarm)
        return None


class FakeBoard:
    """Answers each reading with the next of a script.

    Attributes:
        readings: how often it was read.
    """

    def __init__(
        self, states: Iterable[BoardState] = (), *, otherwise: BoardState | None = None
    ) -> None:
        """Set the scripted states.

        Args:
            states: used once each, in order.
            otherwise: answers every later reading; None makes such a reading an error.
        """
        self._states = iter(states)
        self._otherwise = otherwise
        self.readings = 0

    def read(self) -> BoardState:
        """Raises UsageError once the script has ended."""
        state = next(self._states, self._otherwise)
        if state is None:
            raise UsageError("The fake board's script has ended.")
        self.readings += 1
        return state


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _number(text: str | None, *, base: int) -> int | None:
    try:
        return None if text is None else int(text.strip(), base)
    except ValueError:
        return None


def _output(command: Sequence[str], *, deadline_s: float) -> str | None:
    """What a command prints; None if it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=deadline_s, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
