"""Studio's web process as a program of its own, and somebody at a browser who looks at it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.harness.browser import browser, sign_in
from tests.harness.world import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, StorageState, ViewportSize

    from tests.harness.world import Inhabited

ROOT = Path(__file__).resolve().parent.parent.parent
_START_S = 60.0
_LEAVE_S = 5.0
_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`refused by the policy: ${event.violatedDirective} ${event.sourceFile}:${event.lineNumber}`));
"""
WIDE: ViewportSize = {"width": 1280, "height": 860}
NARROW: ViewportSize = {"width": 390, "height": 844}


class Dashboard:
    """daphne on a free port of the loopback, on the same database and broker as the test.

    Args:
        settings, application: Django settings module and ASGI application; Studio's own unless said otherwise.
        log: where its output goes.
    """

    def __init__(
        self, log: Path, *, settings: str = "kaizen_site.settings", application: str = "kaizen_site.asgi:application"
    ) -> None:
        self.log, self.settings, self.application = log, settings, application
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, host: str) -> str:
        """Where a browser finds an organization, `http://acme.localhost:PORT`."""
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start and wait until it accepts connections.

        Raises:
            RuntimeError: it ended or did not answer in time; the text is its output.
        """
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": self.settings}
        command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), self.application]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + _START_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"The dashboard did not start:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.1)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it; daphne does not always leave when asked."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def browser_beside_django() -> Iterator[Browser]:
    """Chromium for stories whose test also queries the database.

    Playwright keeps an event loop in this thread, for which Django would take our queries for asynchronous ones.
    """
    with pytest.MonkeyPatch.context() as patch, browser() as running:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield running


class Person:
    """Somebody at a browser: a page of the organization's dashboard, and what the browser complained of.

    Attributes:
        page: Playwright's page, at the organization's address.
        state: cookies of somebody who has signed in before; of nobody when it is left out.
        complaints: console errors, page errors and refusals by the content security policy; a story ends without any.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        *,
        viewport: ViewportSize = WIDE,
        theme: Literal["light", "dark"] = "light",
        javascript: bool = True,
        state: StorageState | None = None,
    ) -> None:
        self.complaints: list[str] = []
        context = browser.new_context(
            base_url=address,
            viewport=viewport,
            color_scheme=theme,
            java_script_enabled=javascript,
            storage_state=state,
        )
        context.set_default_timeout(15_000)
        if javascript:
            context.add_init_script(_VIOLATIONS)
        self.page: Page = context.new_page()
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        # The browser reports every answer of 4xx as an error; stories check those themselves.
        if message.type == "error" and "status of 4" not in message.text:
            self.complaints.append(message.text)

    def sign_in(self, world: Inhabited, role: str = "owner") -> None:
        sign_in(self.page, "/accounts/login/", world.users[role].email, PASSWORD)

    def is_wider_than_the_window(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
