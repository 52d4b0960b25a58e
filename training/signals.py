"""Ctrl-C and SIGTERM: noticed at once, obeyed when the loop is at a place to save from."""

import signal
import time
from types import FrameType
from typing import Any

A_MOMENT = 2.0
"""Seconds."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM arrived; the signal's number is its argument."""


class Signals:
    """Ctrl-C and SIGTERM as a flag that the loop reads; a second one ends the program at once.

    A second one means a person: torchrun hands each of its signals on within a moment.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and time.monotonic() - self._at > A_MOMENT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not self.received:
            self.received, self._at = number, time.monotonic()
