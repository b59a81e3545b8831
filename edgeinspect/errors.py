"""Every error that edgeinspect raises on purpose, in one tree.

    EdgeInspectError                     exit code 1
    ├── NotGood                          1  the checked subject is not good
    │   ├── BeltNotReady                 1  the belt is not ready for a master
    │   ├── RecipeConflict               1  somebody else has changed the recipe
    │   └── RecipeNotTaken               1  the running station keeps its old recipe
    ├── UsageError      (ValueError)     2  wrong usage of a command or a call
    ├── ConfigError     (ValueError)     3  station file, recipe or bundle card is wrong
    ├── HardwareError   (OSError)        4  hardware or its driver is missing or failed
    │   ├── DriverMissing                4  the vendor library is not installed
    │   ├── CameraFault                  4  the camera gave no frame, or not the one asked for
    │   │   └── CameraLost               4  the camera has stopped or was unplugged
    │   └── LineFault                    4  a GPIO line could not be opened, read or driven
    ├── ModelRefused    (ValueError)     5  the model or its bundle cannot be trusted
    │   └── OlderBundle                  5  older than the bundle in force
    ├── InferenceFailed (RuntimeError)   5  the verified model failed on one picture
    │   └── Misaligned                   5  a part is not aligned with its reference
    ├── StorageFault    (OSError)        6  records or images cannot be kept
    │   ├── DiskFull                     6
    │   ├── DataDisplaced                6  a file was deleted or moved under the station
    │   └── DataFromNewerVersion         6
    ├── StationBusy     (RuntimeError)   6  another process owns the data directory
    ├── StationTimeout  (TimeoutError)   4  the station did not answer in time
    ├── StationUnreachable (ConnectionError)  4  no station answers on its socket
    ├── CommandRefused  (RuntimeError)   1  the station answered that it did not do it
    └── EventQueueFull  (RuntimeError)   1  the station cannot take a command now

Each error carries one sentence for the person who reads it and, in ``next_action``, an instruction.

A few exceptions are not in the tree because no person ever sees them: whoever calls for them
turns each into one of these or into a reply. ``tests/house/test_errors.py`` lists them.
"""

from __future__ import annotations

import os
from pathlib import Path

REPEAT = "run the command again"
"""Used in next actions; where no command was run, other words replace it."""


class EdgeInspectError(Exception):
    """Base of every deliberate error; ``str(error)`` is one or two sentences for a person.

    Attributes:
        message: what is wrong, as one sentence.
        exit_code: the exit code of a command if nothing catches the error.
        next_action: what the reader should do, in the imperative; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_action: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action

    def __str__(self) -> str:
        """Return the message and the next action."""
        return f"{self.message} {self.next_action}".rstrip()


class NotGood(EdgeInspectError):
    """A check failed."""


class BeltNotReady(NotGood):
    """No master can be judged now: other parts are on the belt, or it is not at full speed."""


class RecipeConflict(NotGood):
    """Somebody else stored or activated a revision in the meantime."""


class RecipeNotTaken(NotGood):
    """The running station could not take a recipe in time. It will not take it later either."""


class UsageError(EdgeInspectError, ValueError):
    """A command or a function received a value that it cannot use."""

    exit_code = 2


class ConfigError(EdgeInspectError, ValueError):
    """A file written by people is wrong.

    The error names the place, the value and the expectation.
    """

    exit_code = 3

    def __init__(
        self,
        *,
        file: str | os.PathLike[str],
        key: str,
        value: object,
        expected: str,
        line: int | None = None,
        next_action: str = "",
    ) -> None:
        self.file = Path(file)
        self.line = line
        self.key = key
        self.value = value
        self.expected = expected
        place = f"{self.file}:{line}" if line is not None else f"{self.file}"
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(
            f"{place}: {key} is {shown}; expected {expected}.",
            next_action=next_action or f"Correct the file and {REPEAT}.",
        )


class HardwareError(EdgeInspectError, OSError):
    """Hardware or its driver is missing, busy or failed."""

    exit_code = 4


class DriverMissing(HardwareError):
    """The vendor library that a driver needs is not installed."""


class CameraFault(HardwareError):
    """The camera gave no frame in time, or cannot be used."""


class CameraLost(CameraFault):
    """The camera has stopped or was unplugged; it must be opened again."""


class LineFault(HardwareError):
    """A GPIO line could not be opened, read or driven."""


class ModelRefused(EdgeInspectError, ValueError):
    """The station must not inspect with this model or bundle."""

    exit_code = 5


class OlderBundle(ModelRefused):
    """A bundle is older than the one in force, and nobody allowed that explicitly."""


class InferenceFailed(EdgeInspectError, RuntimeError):
    """The verified model failed on one picture."""

    exit_code = 5


class Misaligned(InferenceFailed):
    """A part is not positioned like its reference picture."""


class StorageFault(EdgeInspectError, OSError):
    """Records or images cannot be stored."""

    exit_code = 6


class DiskFull(StorageFault):
    """No space is left for records or images."""


class DataDisplaced(StorageFault):
    """A file of the data directory was deleted, replaced or moved under the running station.

    Nothing is acknowledged until the records are repaired, which happens at their next use.
    """


class DataFromNewerVersion(StorageFault):
    """The database was written by a newer edgeinspect than this one."""


class StationBusy(EdgeInspectError, RuntimeError):
    """Another process owns the data directory."""

    exit_code = 6


class StationUnreachable(EdgeInspectError, ConnectionError):
    """No station listens on the socket, or it may not be used, or the connection broke."""

    exit_code = 4


class StationTimeout(EdgeInspectError, TimeoutError):
    """The station did not answer in time."""

    exit_code = 4


class CommandRefused(EdgeInspectError, RuntimeError):
    """The station answered that it did not carry out a command.

    Attributes:
        code: the reply's error code: the name of a class of this module, or a code of the
            protocol.
    """

    def __init__(self, code: str, message: str, next_action: str = "") -> None:
        super().__init__(message, next_action=next_action)
        self.code = code


class EventQueueFull(EdgeInspectError, RuntimeError):
    """The station's event queue is full, so it cannot take a command now."""


def error_words(error: BaseException) -> str:
    """Return what an error of any library says, or its type if it says nothing."""
    return str(error) or type(error).__name__
