"""`python3 -m launcher` as a person runs it: a real process, real signals, free ports, a state folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher import processes
from launcher.addresses import free_port
from launcher.layout import CHECKOUT, StateFolder

_PORTS = (
    "KAIZEN_PORT",
    "KAIZEN_DATABASE_PORT",
    "KAIZEN_REDIS_PORT",
    "KAIZEN_MODEL_PORT",
    "KAIZEN_GATEWAY_DEVELOPMENT_PORT",
    "KAIZEN_GATEWAY_PRODUCTION_PORT",
)
# What `make test` sets for Studio's tests, and what must not reach an installation that starts its own services.
_NOT_OURS = (
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "KAIZEN_ENCRYPTION_KEYS",
    "KAIZEN_STATE_DIR",
)


@dataclass
class Terminal:
    """One person's shell: its state folder, its ports, and the launchers it has running."""

    folder: StateFolder
    variables: dict[str, str] = field(default_factory=dict)
    running: list[Launched] = field(default_factory=list)

    @classmethod
    def at(cls, path: Path, **variables: str) -> Terminal:
        """A shell with six free ports and an empty state folder at `path`."""
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        ports = {name: str(free_port()) for name in _PORTS}
        own = {"KAIZEN_STATE_DIR": str(path), "PYTHONUNBUFFERED": "1"}
        return cls(StateFolder(path), {**inherited, **ports, **own, **variables})

    def port(self, name: str) -> int:
        """The port behind one of the variables."""
        return int(self.variables[name])

    def start(self, command: str = "up") -> Launched:
        """Start a command and leave it running; it has a session of its own, as a terminal would give it."""
        output = self.folder.path.with_name(f"{self.folder.path.name}-output-{len(self.running)}.txt")
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "launcher", command],
                cwd=CHECKOUT,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        launched = Launched(process, output)
        self.running.append(launched)
        return launched

    def run(self, *command: str, timeout: float = 90, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "launcher", *command],
            cwd=CHECKOUT,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def panel(self) -> dict[str, Any]:
        """What `make panel` prints."""
        done = self.run("panel")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 1
        panel: dict[str, Any] = json.loads(lines[0])
        return panel

    def left_behind(self) -> list[str]:
        """Command lines of living processes of this installation."""
        found = []
        for pid in processes.marked(self.folder):
            command = Path(f"/proc/{pid}/cmdline")
            if processes.is_alive(pid) and command.exists():
                found.append(command.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        return found

    def close(self) -> None:
        """Whatever a test left: end it and delete it."""
        for launched in self.running:
            launched.kill()
        if self.folder.path.exists():
            self.run("reset", CONFIRM="yes")


@dataclass
class Launched:
    """A launcher that was started and is watched through what it prints."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, text: str, *, within: float) -> None:
        """Wait until the launcher prints `text`; fails at once if it ends without."""
        deadline = time.monotonic() + within
        while text not in self.text:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {text!r} within {within} s:\n{self.text}"
            time.sleep(0.05)

    def interrupt(self, *, within: float = 30) -> int:
        """Press Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=within)

    def kill(self) -> None:
        """kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
