"""One launcher at a time: whoever holds the lock runs the installation."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from launcher.errors import LauncherError


class Lock:
    """An advisory lock on a file, which the kernel lets go of when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def holder(self) -> int | None:
        """The process id of the launcher that holds the lock, or None."""
        if not self._path.exists() or self._descriptor is not None:
            return None
        if self.acquire():
            self.release()
            return None
        text = self._path.read_text().strip()
        return int(text) if text.isdigit() else None

    def acquire(self) -> bool:
        """Take the lock if it is free."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go; the file stays, since removing it would let two launchers hold two locks."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def take_from(self, holder: int, *, within: float) -> None:
        """Ask the holder to stop, and take the lock when it has.

        Raises:
            LauncherError: it holds on for more than `within` seconds.
        """
        deadline = time.monotonic() + within
        # It may end between our look and our signal, and then has let go.
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGTERM)
        while not self.acquire():
            if time.monotonic() > deadline:
                raise LauncherError(f"Process {holder} did not stop within {within:.0f} s. End it, then try again.")
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
