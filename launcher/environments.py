"""The virtual environments: one for Studio, one for gateways, one for the embedded model.

An environment is up to date when its stamp holds the digest of the requirements it was installed from; then nothing is
run at all. Whatever is installed was pinned and hashed by `make requirements`.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from launcher.children import Children
from launcher.errors import LauncherError
from launcher.layout import CHECKOUT, ENVIRONMENTS
from launcher.lock import Lock
from launcher.progress import Progress

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the compiled requirements it is made of."""

    name: str
    requirements: str

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def _requirements_file(self) -> Path:
        return CHECKOUT / self.requirements

    @property
    def _stamp(self) -> Path:
        return self.folder / f".installed-{self._requirements_file.stem}"

    def _digest(self) -> str:
        text = self._requirements_file.read_bytes() + repr(sys.version_info[:3]).encode()
        return hashlib.sha256(text).hexdigest()

    @property
    def is_current(self) -> bool:
        """Whether it was installed, to the end, from the requirements as they are now."""
        try:
            return self._stamp.read_text() == self._digest() and self.python.exists()
        except FileNotFoundError:
            return False

    def install(self, children: Children, progress: Progress, log: Path) -> None:
        """Create the environment if need be and install its requirements; does nothing when it is current."""
        with Lock(self.folder.with_suffix(".lock")) as lock:
            self._wait_for(lock, children, progress)
            if self.is_current:
                return
            with progress.step(self._subject, f"installing {self._count()} packages", "installed"):
                if not self._has_pip():
                    command: list[str | Path] = [sys.executable, "-m", "venv", "--clear", self.folder]
                    children.run(command, log=log, name=f"creating {self.folder}")
                self._pip_install(children, progress, log)
                self._stamp.write_text(self._digest())

    @property
    def _subject(self) -> str:
        return f"environment {self.name}"

    def _wait_for(self, lock: Lock, children: Children, progress: Progress) -> None:
        """Two commands that are started at once must not install into one folder at once."""
        if lock.acquire():
            return
        progress.say(self._subject, f"process {lock.holder} is installing it; waiting …")
        while not lock.acquire():
            if children.cancelled.wait(0.2):
                raise LauncherError("stopped while it waited")

    def _pip_install(self, children: Children, progress: Progress, log: Path) -> None:
        # The compiled file is the whole closure, so pip need not resolve; wheels only, so no compiler is needed.
        options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        children.run(
            [self.python, "-m", "pip", "install", *options, "-r", self._requirements_file],
            log=log,
            name=f"pip install -r {self.requirements}",
            folder=CHECKOUT,
            on_wait=lambda seconds: progress.say(self._subject, f"installing, {seconds:.0f} s so far"),
        )

    def _has_pip(self) -> bool:
        """False also for an environment whose creation was cut short."""
        if not self.python.exists():
            return False
        return subprocess.run([self.python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0

    def _count(self) -> int:
        return sum("==" in line for line in self._requirements_file.read_text().splitlines())


STUDIO = Environment("studio", "requirements.txt")
STUDIO_WITH_TOOLS = Environment("studio", "requirements-dev.txt")
GATEWAY = Environment("gateway", "gateway_service/requirements.txt")
MODEL = Environment("model", "launcher/model-requirements.txt")
MCP_CLIENT_2 = Environment("mcp-client-2", "tests/gateway_service/mcp_client_2_requirements.txt")
"""What callers bring who are ahead of the gateway. No environment holds two major versions of one package."""


def install(
    environments: tuple[Environment, ...], *, children: Children, progress: Progress, logs: Path | None = None
) -> None:
    """Bring environments up to date, side by side.

    Raises:
        LauncherError: Python is too old, or an installation failed; its log is named.
    """
    if not sys.platform.startswith("linux"):
        raise LauncherError("This needs Linux: the embedded services come as Linux programs.")
    if sys.version_info < OLDEST_PYTHON:
        raise LauncherError(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    due = [environment for environment in environments if not environment.is_current]
    if not due:
        return
    folder = logs or ENVIRONMENTS
    folder.mkdir(parents=True, exist_ok=True)
    children.concurrently(
        *(partial(each.install, children, progress, folder / f"install-{each.name}.log") for each in due)
    )
