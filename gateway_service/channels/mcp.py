"""The MCP channel: every registration that the key may call is a tool with its real input schema.

Served with the official SDK's streamable HTTP, stateless: each request carries the key and stands alone, so it does
not matter which replica behind a load balancer it reaches. Nexus's own MCP listener, which asks for no credential, is
never started. The SDK takes half a second to import, so it is imported with the first request.
"""

from __future__ import annotations

import asyncio
import importlib
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from contract.canonical import strict_loads
from contract.errors import ContractError, ErrorCode
from gateway_service.auth import authenticate_caller, caller_at_end
from gateway_service.channels.mcp_announcements import SESSION_HEADER, Announcements
from gateway_service.channels.mcp_server import CALLER, mcp_server
from gateway_service.errors import GatewayError
from gateway_service.http import CallerLeft, error_response, from_exception, read_body, unless_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.types import Message, Receive, Scope, Send

    from gateway_service.gateway import Gateway

    Answer = Callable[[Send], Coroutine[Any, Any, None]]

PATH = "/mcp"
METHODS = ["GET", "POST", "DELETE"]

_EVENT_STREAM = "text/event-stream"


class McpChannel:
    """An ASGI application for ``/mcp``. `close` ends it.

    POST does everything. GET announces changes. DELETE ends a session, of which nothing is kept here.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._announcements = Announcements(gateway)
        self._plain: Any = None
        self._telling: Any = None
        self._serving: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as long as the caller waits for it, or say why not."""
        try:
            answer = await self._admitted(Request(scope, receive))
        except CallerLeft:
            return
        except Exception as error:  # noqa: BLE001 (each becomes an answer)
            refusal = from_exception(error)
            self._gateway.metrics.refuse("caller", refusal.code)
            await error_response(refusal)(scope, receive, send)
            return
        with suppress(CallerLeft):
            await unless_gone(answer(send), receive)

    async def _admitted(self, request: Request) -> Answer:
        match request.method:
            case "POST":
                return await self._posted(request)
            case "GET" if _EVENT_STREAM in request.headers.get("accept", ""):
                return self._announcements.stream(request)
            case "DELETE":
                authenticate_caller(request, self._gateway.state())
                return partial(Response(status_code=204), request.scope, request.receive)
            case _:
                raise GatewayError(ErrorCode.METHOD_NOT_ALLOWED, f"GET opens a stream; say 'Accept: {_EVENT_STREAM}'")

    async def _posted(self, request: Request) -> Answer:
        caller, body = await caller_at_end(request, self._gateway.state, lambda: self._received(request))
        request.scope[CALLER] = caller
        message = _peeked(body)
        accepts_events = _EVENT_STREAM in request.headers.get("accept", "")
        sessions = self._telling if accepts_events and _wants_progress(message) else self._plain

        async def answer(send: Send) -> None:
            begins = message.get("method") == "initialize"
            sending = _with_session(send, self._announcements.new_session_id(caller)) if begins else send
            await sessions.handle_request(request.scope, _replay(body), sending)

        return answer

    async def _received(self, request: Request) -> bytes:
        # Loading the SDK takes longer than most bodies, and whatever takes long comes before the last look at the key.
        body = await read_body(request, self._gateway.settings.max_body_bytes)
        await self._start()
        return body

    async def close(self) -> None:
        """End the sessions."""
        self._closing.set()
        if self._serving is not None:
            await asyncio.wait({self._serving})

    async def _start(self) -> None:
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="mcp")
        started = asyncio.ensure_future(self._started.wait())
        await asyncio.wait({started, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._serving.done():
            self._serving.result()

    async def _serve(self) -> None:
        """Own the SDK's task groups from their beginning to their end, which must happen in one task."""
        self._plain, self._telling = await asyncio.to_thread(_sessions, self._gateway)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._plain.run())
            await stack.enter_async_context(self._telling.run())
            self._started.set()
            await self._closing.wait()


def _sessions(gateway: Gateway) -> tuple[Any, Any]:
    """The SDK's session handling around our server, twice: answering with JSON, and with a stream of events."""
    server = mcp_server(
        gateway,
        importlib.import_module("mcp.server.lowlevel"),
        importlib.import_module("mcp.types"),
        importlib.import_module("mcp.shared.exceptions"),
    )
    # The SDK's streams would break off when the process is told to stop; a running execution has its time to drain.
    importlib.import_module("sse_starlette.sse").AppStatus.disable_automatic_graceful_drain()
    handling = partial(
        importlib.import_module("mcp.server.streamable_http_manager").StreamableHTTPSessionManager,
        server,
        stateless=True,
        max_request_body_size=gateway.settings.max_body_bytes,
    )
    return handling(json_response=True), handling(json_response=False)


def _peeked(body: bytes) -> dict[str, Any]:
    """The message, if it is one of those that are answered in a way of their own; most are read by the SDK alone."""
    if b'"initialize"' not in body and b'"progressToken"' not in body:
        return {}
    try:
        message = strict_loads(body)
    except ContractError:
        return {}
    return message if isinstance(message, dict) else {}


def _wants_progress(message: dict[str, Any]) -> bool:
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return message.get("method") == "tools/call" and isinstance(meta, dict) and "progressToken" in meta


def _with_session(send: Send, session_id: str) -> Send:
    """Give the client a session's id with a good answer. Only clients that have one listen for announcements."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)[SESSION_HEADER] = session_id
        await send(message)

    return sending


def _replay(body: bytes) -> Receive:
    """The request's messages for the SDK, whose body was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    return receive
