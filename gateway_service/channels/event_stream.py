"""Server-sent events of a running execution: each piece of text goes out as soon as the model said it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response

from gateway_service.errors import GatewayError
from gateway_service.http import CallerLeft, error_response, from_exception, unless_gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from starlette.types import Receive, Scope, Send

    from gateway_service.execution.engine import Result

_KEEP_ALIVE_S = 10.0
_BUFFERED_PIECES = 64
EVENT_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx would otherwise hold the tokens back.
    (b"x-accel-buffering", b"no"),
]
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, sent when nothing happened for so long that a proxy might hang up."""


class StreamFormat(Protocol):
    """How a channel writes down what happens."""

    def opening(self) -> bytes:
        """What is sent before anything else."""
        ...

    def piece(self, text: str) -> bytes:
        """A piece of the answer's text."""
        ...

    def done(self, result: Result) -> bytes:
        """The end of an execution that succeeded."""
        ...

    def failed(self, error: GatewayError) -> bytes:
        """The end of an execution that failed after text was sent."""
        ...


class EventStream(Response):
    """Runs an execution while it sends its text.

    The status line waits for the first piece, so that an execution that fails before it said anything is answered
    with its proper status. When the caller leaves, the execution is cancelled, and with it the call of the model. A
    caller that reads slowly slows the model down; nothing piles up.
    """

    def __init__(
        self,
        run: Callable[[Callable[[str], Awaitable[None]]], Coroutine[Any, Any, Result]],
        form: StreamFormat,
        limits: Mapping[str, str],
        refused: Callable[[GatewayError], None],
    ) -> None:
        """Prepare the answer.

        Args:
            run: runs the execution, which hands each piece of its text to what it is given.
            form: how the channel writes down what happens.
            limits: headers that tell how the key stands with its limits; complete when the first piece comes.
            refused: is told of an error that is answered.
        """
        super().__init__()
        self._run = run
        self._form = form
        self._limits = limits
        self._refused = refused
        self._events: asyncio.Queue[str | Result | GatewayError] = asyncio.Queue(_BUFFERED_PIECES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        producer = asyncio.create_task(self._produce())
        try:
            await unless_gone(self._send(scope, receive, send), receive)
        except CallerLeft:
            pass
        finally:
            producer.cancel()
            await asyncio.wait({producer})

    async def _produce(self) -> None:
        try:
            ending: Result | GatewayError = await self._run(self._events.put)
        except Exception as error:  # noqa: BLE001 (each becomes the stream's last event)
            ending = from_exception(error)
        await self._events.put(ending)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        event = await self._next()
        if isinstance(event, GatewayError):
            self._refused(event)
            await error_response(event)(scope, receive, send)
            return
        limits = [(name.lower().encode(), value.encode()) for name, value in self._limits.items()]
        await send({"type": "http.response.start", "status": 200, "headers": [*EVENT_STREAM_HEADERS, *limits]})
        await _chunk(send, self._form.opening())
        while event is None or isinstance(event, str):
            await _chunk(send, KEEP_ALIVE if event is None else self._form.piece(event))
            event = await self._next()
        if isinstance(event, GatewayError):
            self._refused(event)
            await _chunk(send, self._form.failed(event), last=True)
        else:
            await _chunk(send, self._form.done(event), last=True)

    async def _next(self) -> str | Result | GatewayError | None:
        """The next event; None when nothing happened for so long that a proxy might hang up."""
        try:
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets an event which is there already,
            # and the execution of a caller who has left would go on to its end.
            async with asyncio.timeout(_KEEP_ALIVE_S):
                return await self._events.get()
        except TimeoutError:
            return None


def sse(content: Any, event: str = "", event_id: str = "") -> bytes:
    """One server-sent event with JSON as its content."""
    name = (f"event: {event}\n" if event else "") + (f"id: {event_id}\n" if event_id else "")
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"{name}data: {text}\n\n".encode()


async def _chunk(send: Send, content: bytes, *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": content, "more_body": not last})
