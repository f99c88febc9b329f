"""Progress lines: what happens, to whom, and how long it took."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_WIDTH = 22


class Progress:
    """Prints one line per step on standard error, from any thread.

    Standard error, because standard output belongs to what a command yields (the panel's JSON, `export` lines).
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._quiet = quiet

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def say(self, subject: str, text: str) -> None:
        """Print one line about `subject`, with the seconds since the command began."""
        if self._quiet:
            return
        with self._lock:
            self._print(f"{self.elapsed:6.1f} s  {subject:<{_WIDTH}} {text}", sys.stderr)

    def show(self, text: str) -> None:
        """Print what a command yields, on standard output."""
        with self._lock:
            self._print(text, sys.stdout)

    @staticmethod
    def _print(text: str, to: TextIO) -> None:
        # The terminal may be closed or the pipe's reader gone. Whoever started something must still stop it.
        with contextlib.suppress(OSError):
            print(text, file=to, flush=True)

    @contextmanager
    def step(self, subject: str, doing: str, done: str) -> Iterator[None]:
        """Announce a step, and say how many seconds it took once it succeeded."""
        self.say(subject, f"{doing} …")
        began = time.monotonic()
        yield
        self.say(subject, f"{done} ({time.monotonic() - began:.1f} s)")
