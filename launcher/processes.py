"""The last resort: find and end processes of an installation whose supervisord is gone."""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from launcher.layout import StateFolder

MARKER = "KAIZEN_INSTALLATION"
_LEAVE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


def marked(folder: StateFolder) -> list[int]:
    """Ids of living processes that carry this installation's marker in the environment they were started with."""
    wanted = f"{MARKER}={folder.path}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        # Another account's process, or one that has just ended, is not ours to look at.
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def sweep(folder: StateFolder) -> list[int]:
    """End what is left of an installation; returns the process ids that were.

    supervisord goes first, lest it restart what is ended next. The rest gets its stop signal and a few seconds, then is
    killed. PostgreSQL's data stay sound either way; it recovers from its log at the next start.
    """
    left = marked(folder)
    if not left:
        return []
    for pid in left:
        if b"supervisor.supervisord" in _command_line(pid):
            _send(pid, signal.SIGKILL)
    for pid in left:
        # To PostgreSQL, TERM means to wait for its clients to leave, and INT to send them away.
        _send(pid, signal.SIGINT if b"/bin/postgres\0" in _command_line(pid) else signal.SIGTERM)
    _wait_until_gone(folder)
    for pid in marked(folder):
        _send(pid, signal.SIGKILL)
    # The kernel takes a moment for it.
    _wait_until_gone(folder)
    return left


def _wait_until_gone(folder: StateFolder) -> None:
    deadline = time.monotonic() + _LEAVE_SECONDS
    while marked(folder) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def die_with_parent() -> None:
    """In a child before it executes: have the kernel send it SIGTERM when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
