"""Studio's scanner as it runs in production: a process of its own, driven by the database alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
_STOP_TIMEOUT_S = 40.0


class ScannerProcess:
    """`manage.py scan`: start, stop and kill it, as often as a story needs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> ScannerProcess:
        """Start it. It finds what is due by itself, whenever it is ready."""
        assert self._process is None, "it is running already"
        self._process = subprocess.Popen([sys.executable, "manage.py", "scan"], cwd=ROOT, env=os.environ.copy())
        return self

    def stop(self) -> None:
        """Ask it to stop, and wait until it has finished what it was at."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """``kill -9``, in the middle of whatever it does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process = None


@contextlib.contextmanager
def scanner() -> Iterator[ScannerProcess]:
    """A running scanner, for as long as the block lasts."""
    process = ScannerProcess().start()
    try:
        yield process
    finally:
        process.kill()


def becomes(true: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait for something that becomes true by itself; `what` says in a failure what did not."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: that never became true"
        time.sleep(0.05)
