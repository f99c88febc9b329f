"""The stream on which MCP clients learn that their list of tools has changed.

Nothing is kept between requests. What a client knows of the list travels with it: in its session's id, which it was
given when it began, and in the id of the last announcement it heard. So whichever replica it reaches, also after a
connection broke, is able to tell whether it has missed a change.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from contract.errors import ErrorCode
from gateway_service.auth import authenticate_caller
from gateway_service.channels.event_stream import EVENT_STREAM_HEADERS, KEEP_ALIVE, sse
from gateway_service.errors import GatewayError
from gateway_service.kinds import Workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request
    from starlette.types import Send

    from gateway_service.auth import Caller
    from gateway_service.gateway import Gateway
    from gateway_service.registrations import Registrations

SESSION_HEADER = "mcp-session-id"

_LOOK_EVERY_S = 0.5
_LOOKS_BETWEEN_KEEP_ALIVES = 20
_STREAMS_PER_KEY = 100
_STREAMS = 1_000
_RETRY_S = 30
_CHANGED = ("notifications/tools/list_changed", "notifications/resources/list_changed")


class Announcements:
    """The open streams of this process, and what each key's list of tools is known by."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open: Counter[str] = Counter()
        self._fingerprints: dict[tuple[str, ...], str] = {}
        self._taken_of: Registrations | None = None

    def new_session_id(self, caller: Caller) -> str:
        """An id for a client that begins now: unique, and telling which tools it is about to see."""
        return f"{uuid.uuid4().hex}-{self._fingerprint(caller)}"

    def stream(self, request: Request) -> Callable[[Send], Coroutine[Any, Any, None]]:
        """What announces changes until the client's key ends, or the gateway is about to stop.

        Raises:
            GatewayError: the key is not good, or too many streams are open.
        """
        key_id = authenticate_caller(request, self._gateway.state()).key_id
        if self._open[key_id] >= _STREAMS_PER_KEY or self._open.total() >= _STREAMS:
            raise GatewayError(
                ErrorCode.OVERLOADED, "too many streams of announcements are open", retry_after_s=_RETRY_S
            )

        async def counted(send: Send) -> None:
            self._open[key_id] += 1
            try:
                await self._announce(request, send)
            finally:
                self._open[key_id] -= 1
                self._open += Counter()  # forget those that have none

        return counted

    async def _announce(self, request: Request, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM_HEADERS})
        await _chunk(send, KEEP_ALIVE)
        known, looks = _known(request), 0
        while (now := self._look(request)) is not None:
            looks += 1
            if known is not None and now != known:
                await _chunk(send, b"".join(sse({"jsonrpc": "2.0", "method": each}, event_id=now) for each in _CHANGED))
            elif looks % _LOOKS_BETWEEN_KEEP_ALIVES == 0:
                await _chunk(send, KEEP_ALIVE)
            known = now
            await asyncio.sleep(_LOOK_EVERY_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _look(self, request: Request) -> str | None:
        """What the client would be listed now; None if there is nothing more to be told here."""
        if self._gateway.engine.draining:
            return None
        try:
            return self._fingerprint(authenticate_caller(request, self._gateway.state()))
        except GatewayError:
            return None

    def _fingerprint(self, caller: Caller) -> str:
        """A short digest of what a key may call and of what each of these is. It tells nothing about either."""
        everything = caller.snapshot.view(Workflows)
        if everything is not self._taken_of:
            self._taken_of, self._fingerprints = everything, {}
        scopes = tuple(caller.key.scopes)
        fingerprint = self._fingerprints.get(scopes)
        if fingerprint is None:
            listed = "\n".join(f"{name} {each.release.digest}" for name, each in caller.registrations.items())
            fingerprint = self._fingerprints[scopes] = hashlib.sha256(listed.encode()).hexdigest()[:16]
        return fingerprint


def _known(request: Request) -> str | None:
    """What the client has heard last, or was listed when it began."""
    last = request.headers.get("last-event-id")
    return last or request.headers.get(SESSION_HEADER, "").rpartition("-")[2] or None


async def _chunk(send: Send, content: bytes) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": True})
