"""One installation, started with `make up`'s own code, for all stories of this folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.harness.browser import browser
from tests.harness.launcher import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

FIRST_START_SECONDS = 180


@dataclass(frozen=True)
class Studio:
    """The running installation and what its panel says."""

    terminal: Terminal
    panel: dict[str, Any]

    @property
    def dashboard(self) -> str:
        return str(self.panel["dashboard"])

    def password(self, role: str) -> tuple[str, str]:
        """Email and password of the seeded member with that role."""
        user = next(user for user in self.panel["users"] if user["role"] == role)
        return user["email"], user["password"]

    def gateway(self, environment: str = "development") -> str:
        """Address of the seed's gateway of an environment."""
        return f"http://127.0.0.1:{self.terminal.port(f'KAIZEN_GATEWAY_{environment.upper()}_PORT')}"

    def api(self) -> httpx.Client:
        """acme's API with the panel's token. Python does not resolve `*.localhost`; the host goes into its header."""
        port = self.terminal.port("KAIZEN_PORT")
        return httpx.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1",
            headers={"host": f"acme.localhost:{port}", "authorization": f"Bearer {self.panel['api_token']}"},
            timeout=30,
        )

    def process_ids(self, word: str) -> list[int]:
        """Processes of the installation whose command line holds the word."""
        from launcher import processes

        found = []
        for pid in processes.marked(self.terminal.folder):
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and word in command.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(pid)
        return found


@contextmanager
def started() -> Iterator[Studio]:
    """A first start from nothing, waited for; everything is stopped and deleted afterwards."""
    parent = Path(tempfile.mkdtemp(prefix="kaizen-story-"))
    # As on a person's machine: PostgreSQL's own account can reach the folder.
    parent.chmod(0o711)
    terminal = Terminal.at(parent / "state")
    try:
        terminal.start().wait_for("running; Ctrl-C stops it", within=FIRST_START_SECONDS)
        yield Studio(terminal, terminal.panel())
    finally:
        terminal.close()
        shutil.rmtree(parent)


@pytest.fixture(scope="package")
def studio() -> Iterator[Studio]:
    """The installation that the stories share."""
    with started() as running:
        yield running


@pytest.fixture
def doomed_studio() -> Iterator[Studio]:
    """An installation of one's own, for a story that does not leave it whole."""
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser process; each story opens a context of its own.

    Its driver keeps an event loop in this thread, in which Django refuses to query: it must not outlive the module.
    """
    with browser() as running:
        yield running
