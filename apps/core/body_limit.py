"""The size of request bodies, kept small before anything of Django runs.

Django's ASGI handler reads a body to its end before any middleware sees the request, and the API's framework takes a
body that came without `Content-Length` for an empty one. So this stands in front of Django, and in front of it stands
a limit in the server, which would otherwise spool a body of any length to disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Application = Callable[[Any, Receive, Any], Awaitable[None]]
# Somebody who goes on sending after so many times the limit is cut off.
_PATIENCE = 16
# What a browser says over a socket of ours is a line of a conversation.
_LONGEST_FRAME = 128 * 1024


class BodyLimit:
    """Hands the application a body that is whole, bounded, and declares its length.

    A body that is too long is dropped and its length declared truthfully enough for `BodyLimitMiddleware` to answer.
    """

    def __init__(self, application: Application, *, limit: int) -> None:
        self.application = application
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Any) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
        elif _declared(scope) > self.limit:
            await self.application(scope, _first(b"", receive), send)
        elif (body := await self._read(receive)) is not None:
            kept = body if len(body) <= self.limit else b""
            await self.application(_with_length(scope, len(body)), _first(kept, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or as much of it as shows that it is too long; None if the client left."""
        body = b""
        while len(body) <= self.limit:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return body


def _declared(scope: Scope) -> int:
    """The declared length; 0 where there is none, or none that is a number (a middleware answers that)."""
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0


def _with_length(scope: Scope, length: int) -> Scope:
    kept = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
    invalid = [pair for pair in scope["headers"] if pair[0] == b"content-length" and not pair[1].isdigit()]
    return {**scope, "headers": [*kept, *(invalid or [(b"content-length", str(length).encode())])]}


def _first(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, and then whatever follows, which is the client's leaving."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def bound_what_daphne_buffers(limit: int) -> None:
    """Let the server keep no more of a body than shows that it is too long, drop the rest unread, and end long frames.

    daphne hands a request to its application only when the body is complete, and has no setting for its size.
    """
    from daphne.http_protocol import WebRequest  # type: ignore[import-untyped]
    from daphne.ws_protocol import WebSocketFactory  # type: ignore[import-untyped]

    take = WebRequest.handleContentChunk

    def take_within_limit(self: Any, chunk: bytes) -> None:
        received = getattr(self, "kaizen_received", 0)
        self.kaizen_received = received + len(chunk)
        if self.kaizen_received > limit * _PATIENCE:
            self.channel.forceAbortClient()
        elif received <= limit:
            take(self, chunk[: limit + 1 - received])

    WebRequest.handleContentChunk = take_within_limit
    begin = WebSocketFactory.__init__

    def begin_within_limit(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.setProtocolOptions(maxFramePayloadSize=_LONGEST_FRAME, maxMessagePayloadSize=_LONGEST_FRAME)

    WebSocketFactory.__init__ = begin_within_limit
