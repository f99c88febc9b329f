"""Short-lived subprocesses and threads of the launcher, all of which end when it is interrupted."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from launcher.errors import Interrupted, LauncherError

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TERMINATE_SECONDS = 3.0
_TAIL_LINES = 15


@contextmanager
def interruptible() -> Iterator["Interruption"]:
    """Turn the first stop signal into `Interrupted` in the main thread, and ignore those that follow."""
    interruption = Interruption()
    previous = {number: signal.signal(number, interruption.receive) for number in _STOPPING}
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Interruption:
    """Whether somebody asked us to stop."""

    def __init__(self) -> None:
        self._held = False
        self._postponing = False
        self._pending: int | None = None

    def receive(self, signal_number: int, _frame: FrameType | None) -> None:
        if self._held:
            return
        self._held = True
        if self._postponing:
            self._pending = signal_number
        else:
            raise Interrupted(signal_number)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Raise only at the end of the block, so that a process is never started without being noted."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals interrupt the main thread only
            return
        self._postponing = True
        try:
            yield
        finally:
            self._postponing = False
            if self._pending is not None:
                raise Interrupted(self._pending)

    def hold(self) -> None:
        """Ignore stop signals from here on: what follows is the stopping itself, and it is bounded in time."""
        self._held = True


@dataclass(frozen=True)
class Account:
    """A system account that something runs as instead of root."""

    name: str
    uid: int
    gid: int


def dropping_to(account: Account | None) -> dict[str, Any]:
    """Arguments that make `subprocess` run as an account and nothing more."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


class Children:
    """Runs commands to their end, each in a session of its own so that Ctrl-C reaches the launcher alone."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.cancelled = threading.Event()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        name: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_wait: Callable[[float], None] | None = None,
        every: float = 10.0,
        stdin: bytes | None = None,
        account: Account | None = None,
    ) -> None:
        """Run a command to its end, its output appended to `log`.

        Args:
            on_wait: called with the seconds waited so far.
            every: seconds between two such calls.

        Raises:
            LauncherError: it ended with an error, or the launcher is stopping; the end of its output is in the text.
        """
        with log.open("ab") as output:
            began = output.tell()
            child = self._spawn(
                command, output, stdin=stdin is not None, env=environment, cwd=folder, **dropping_to(account)
            )
            try:
                self._feed(child, stdin)
                code = self._wait(child, on_wait, every)
            finally:
                with self._lock:
                    self._running.discard(child)
        if code:
            raise LauncherError(f"{name} failed (exit {code}). The end of {log}:\n{tail(log, since=began)}")

    def _spawn(
        self, command: Sequence[str | Path], output: IO[bytes], *, stdin: bool, **options: Any
    ) -> subprocess.Popen[bytes]:
        with self._lock, self.interruption.postponed():
            if self.cancelled.is_set():
                raise LauncherError("stopped before it began")
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
            self._running.add(child)
        return child

    @staticmethod
    def _feed(child: subprocess.Popen[bytes], text: bytes | None) -> None:
        if child.stdin is None or text is None:
            return
        # A child that ended early says why in its log; the broken pipe adds nothing.
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(text)

    @staticmethod
    def _wait(child: subprocess.Popen[bytes], on_wait: Callable[[float], None] | None, every: float) -> int:
        began = time.monotonic()
        while True:
            try:
                return child.wait(timeout=every)
            except subprocess.TimeoutExpired:
                if on_wait:
                    on_wait(time.monotonic() - began)

    def terminate(self) -> None:
        """End every running command and its descendants, and refuse new ones."""
        with self._lock:
            self.cancelled.set()
            running = list(self._running)
        deadline = time.monotonic() + _TERMINATE_SECONDS
        for child in running:
            _signal_group(child, signal.SIGTERM)
        for child in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.0, deadline - time.monotonic()))
            # Also when the leader ended: a descendant may have outlived it.
            _signal_group(child, signal.SIGKILL)
            child.wait()

    def concurrently(self, *steps: Callable[[], None]) -> None:
        """Run steps in threads. The first failure, or an interruption, ends the others and is raised."""
        with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
            futures = [pool.submit(step) for step in steps]
            try:
                # A wait without a time limit would keep the main thread from seeing signals.
                while wait(futures, timeout=0.1, return_when=FIRST_EXCEPTION).not_done:
                    _raise_first_failure(futures)
                _raise_first_failure(futures)
            except BaseException:
                self.terminate()
                raise


def _raise_first_failure(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def tail(log: Path, *, since: int = 0, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, from byte `since` on, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(since, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"    (no log: {error})"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
