"""A real browser for stories: the Chromium of the machine, headless, with nothing of a user's."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from launcher import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

LEFT_OUT = (
    "no Chromium was found: install one (Debian: apt-get install chromium) or name it in KAIZEN_CHROMIUM, "
    "then run: make test T='-m browser'"
)
_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def is_there() -> bool:
    """Whether browser stories can be told on this machine."""
    return chromium.find(os.environ) is not None


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, until the end of the block. As root it cannot use its sandbox."""
    path = chromium.find(os.environ)
    assert path is not None, LEFT_OUT
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


def sign_in(page: Page, dashboard: str, email: str, password: str) -> None:
    """Sign in as a person does; ends on the page that asked for it."""
    page.goto(dashboard)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/accounts/login" not in url)
