"""A stand-in for stderr that hands on what is written there, line by line."""

import io
import threading
from collections.abc import Callable
from typing import TextIO


class WrittenLines(io.TextIOBase):
    """Hands each line on once it is whole, without its end."""

    def __init__(self, tell: Callable[[str], object], stream: TextIO) -> None:
        self._tell = tell
        self._stream = stream
        self._begun = ""  # a line without its end
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Hand on the lines that are whole by now."""
        with self._lock:
            *whole, self._begun = (self._begun + text).split("\n")
            for line in whole:
                self._hand_on(line)
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of stderr itself, for processes that inherit it."""
        return self._stream.fileno()

    def end(self) -> None:
        """Hand on what has no end of line."""
        with self._lock:
            begun, self._begun = self._begun, ""
            self._hand_on(begun)

    def _hand_on(self, line: str) -> None:
        if line := line.rstrip():
            self._tell(line)
