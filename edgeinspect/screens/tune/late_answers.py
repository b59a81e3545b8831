"""A terminal that answers too late would type its answers into the tuning screen."""

from __future__ import annotations

import time

from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key
from textual.message import Message

_WAIT_S = 60.0
"""After this time no further answer is expected."""
_PARAMETERS = frozenset("0123456789;?")
_KINDS = {"[": "control", "_": "string"}


class AnswerFilter:
    """Distinguishes answers from keys. Textual reports an unknown escape sequence as keys.

    A circumflex represents the escape character if another sequence follows; after a pause there
    is nothing in its place. No key of the tuning screen begins like that.
    """

    def __init__(self) -> None:
        self._within = ""

    def takes(self, key: Key) -> bool:
        """This key is of an answer."""
        character = key.character or ""
        if not self._within:
            self._within = {"^": "start", "[": "control"}.get(character, "")
            return bool(self._within)
        if self._within == "start":
            self._within = _KINDS.get(character, "")
        elif self._within == "control":
            self._within = "control" if character in _PARAMETERS else ""
        elif character == "\\":
            self._within = ""
        return True


class LateAnswersDriver(LinuxDriver):
    """Drops answers to questions that were put before the screen opened."""

    _until_s = 0.0

    def start_application_mode(self) -> None:
        """Start, and filter late answers of the terminal for a while."""
        self._until_s = time.monotonic() + _WAIT_S
        self._filter = AnswerFilter()
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def process_message(self, message: Message) -> None:
        """Drop the keys of a late answer; pass on everything else."""
        is_answer = (
            isinstance(message, Key)
            and time.monotonic() < self._until_s
            and self._filter.takes(message)
        )
        if not is_answer:
            super().process_message(message)
