"""The processes of a run: started, killed without warning, and started again as a supervisor would."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.children import Account, dropping_to
from launcher.errors import NotReady
from launcher.layout import CHECKOUT
from launcher.probes import Probe, always

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_READY_S = 120.0
_GONE_S = 30.0


@dataclass
class Process:
    """One program of the installation.

    Attributes:
        ready: made anew at each start; asks whether it is at work.
        merciless: the signal that stands for its sudden death. PostgreSQL's is SIGQUIT to its first process, which is
            what `pg_ctl stop -m immediate` sends: no checkpoint, no goodbye, recovery at the next start.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: Path
    ready: Callable[[], Probe] = lambda: always
    account: Account | None = None
    merciless: signal.Signals = signal.SIGKILL
    _asked: Probe = always
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._child is not None, f"{self.name} is not running"
        return self._child.pid

    def start(self) -> None:
        """Start it."""
        self._asked = self.ready()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command,
                cwd=CHECKOUT if self.account is None else "/",
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **dropping_to(self.account),
            )

    def wait_ready(self) -> None:
        """Wait until it is at work.

        Raises:
            AssertionError: it died or was not ready in time; the end of its log is in the text.
        """
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                self._asked()
            except NotReady as error:
                reason = str(error)
            else:
                return
            dead = self._child is None or self._child.poll() is not None
            assert not dead, f"{self.name} died:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready: {reason}\n{self.tail()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """Let it die at once."""
        assert self._child is not None, f"{self.name} is not running"
        with suppress(ProcessLookupError):
            self._child.send_signal(self.merciless)
        self._child.wait(_GONE_S)

    def kill_descendant(self) -> bool:
        """Let one of the processes that it forked die at once; False if it has none."""
        children = _children_of(self.pid)
        if not children:
            return False
        with suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
        return True

    def end(self) -> None:
        """End it, if it runs, with whatever shares its session."""
        if self._child is None or self._child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, self.merciless)
        self._child.wait(_GONE_S)

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _children_of(pid: int) -> list[int]:
    """Ids of a process's children: the fourth field of their stat is its own id (proc(5))."""
    found = []
    for entry in Path("/proc").iterdir():
        # One that has just ended is nobody's child any more.
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "stat").read_text().rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(int(entry.name))
    return found
