"""WebSockets of an organization's pages, opened as a browser opens them, against the whole ASGI application."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from channels.testing import WebsocketCommunicator

from kaizen_site.asgi import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.harness.world import Inhabited

PATIENCE_S = 15.0


def session_of(world: Inhabited, role: str) -> str:
    """The cookie of a member who signed in."""
    return str(world.client(role).cookies["sessionid"].value)


class Socket(WebsocketCommunicator):
    """One open socket; frames are JSON objects."""

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of a type; whatever comes before it is skipped."""
        while True:
            message = await self.next()
            if message.get("type") == kind:
                return message

    async def next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.receive_json_from(timeout=PATIENCE_S)
        return message

    async def html(self) -> str:
        """The next content of a live region."""
        while "html" not in (message := await self.next()):
            assert "gone" not in message, message
        return str(message["html"])

    async def say(self, text: Any) -> None:
        await self.send_json_to({"type": "message", "text": text})

    async def closed_with(self) -> tuple[int, str]:
        """Code and reason with which the server ends it; messages before that are skipped."""
        while True:
            event = await self.receive_output(timeout=PATIENCE_S)
            if event["type"] == "websocket.close":
                return event.get("code", 1000), event.get("reason") or ""


@asynccontextmanager
async def socket(world: Inhabited, path: str, session: str) -> AsyncIterator[Socket]:
    """A socket to a path of the organization's host."""
    headers = [
        (b"host", world.host.encode()),
        (b"origin", f"http://{world.host}".encode()),
        (b"cookie", f"sessionid={session}".encode()),
    ]
    opened = Socket(application, path, headers)
    connected, _ = await opened.connect(timeout=PATIENCE_S)
    assert connected
    try:
        yield opened
    finally:
        await opened.disconnect(timeout=PATIENCE_S)


@contextmanager
def scanning() -> Iterator[None]:
    """The scanner, in a thread of the test's process."""
    from apps.gateways.scanner import Scanner

    scanner = Scanner()
    thread = threading.Thread(target=scanner.run, daemon=True)
    thread.start()
    yield
    scanner.stop()
    thread.join()
