"""The MCP channel: every registration that the key may call is a tool with its real input schema.

Served with the official SDK's streamable HTTP, stateless: each request carries the key and stands alone, so it does
not matter which replica behind a load balancer it reaches. Nexus's own MCP listener, which asks for no credential, is
never started. The SDK takes half a second to import, so it is imported with the first request.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from contract.admin_api import Channel
from gateway_service import VERSION
from gateway_service.auth import Caller, caller_at_end
from gateway_service.execution.engine import Invocation
from gateway_service.http import CallerLeft, error_response, from_exception, read_body, unless_gone

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from gateway_service.errors import GatewayError
    from gateway_service.gateway import Gateway
    from gateway_service.registrations import Registration

PATH = "/mcp"
_CALLER = "kaizen.caller"


class McpChannel:
    """An ASGI application for ``/mcp``. `close` ends it.

    POST only: without sessions there is nothing a GET stream could carry, and nothing for a DELETE to end.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sessions: Any = None
        self._serving: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate, then let the SDK answer; its work ends when the caller leaves."""
        request = Request(scope, receive)
        try:
            caller, body = await caller_at_end(request, self._gateway.state, lambda: self._received(request))
        except CallerLeft:
            return
        except Exception as error:  # noqa: BLE001 (each becomes an answer)
            refusal = from_exception(error)
            self._gateway.metrics.refuse("caller", refusal.code)
            await error_response(refusal)(scope, receive, send)
            return
        scope[_CALLER] = caller
        try:
            await unless_gone(self._sessions.handle_request(scope, _replay(body), send), receive)
        except CallerLeft:
            return

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
        """Own the SDK's task group from its beginning to its end, which must happen in one task."""
        self._sessions = await asyncio.to_thread(_sessions, self._gateway)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._sessions.run())
            self._started.set()
            await self._closing.wait()


def _sessions(gateway: Gateway) -> Any:
    """The SDK's session handling around a server with our tools."""
    lowlevel = importlib.import_module("mcp.server.lowlevel")
    streamable_http = importlib.import_module("mcp.server.streamable_http_manager")
    types = importlib.import_module("mcp.types")
    tools = _Tools(gateway, lowlevel.Server("kaizen-gateway", version=VERSION), types)
    return streamable_http.StreamableHTTPSessionManager(
        tools.server, stateless=True, json_response=True, max_request_body_size=gateway.settings.max_body_bytes
    )


class _Tools:
    """Registrations as MCP tools."""

    def __init__(self, gateway: Gateway, server: Any, types: Any) -> None:
        self._gateway = gateway
        self._types = types
        self.server = server
        # Not through the SDK's decorators: they keep the tools of the first call, and ours change at run time.
        server.request_handlers[types.ListToolsRequest] = self.list
        server.request_handlers[types.CallToolRequest] = self.call

    async def list(self, _: Any) -> Any:
        """The tools in the key's scope."""
        registrations = self._caller().registrations.values()
        result = self._types.ListToolsResult(tools=[self._tool(registration) for registration in registrations])
        return self._types.ServerResult(result)

    async def call(self, request: Any) -> Any:
        """Run a tool; what goes wrong is the tool's result, which the calling model can read."""
        try:
            caller = self._caller()
            registration = caller.routed(caller.registration(request.params.name))
            inputs = request.params.arguments or {}
            invocation = Invocation(registration, inputs, caller.key_id, Channel.MCP)
            result = await self._gateway.engine.run(invocation)
        except Exception as error:  # noqa: BLE001 (each becomes the tool's result)
            return self._failure(from_exception(error))
        first = next(iter(result.outputs.values()))
        text = first if isinstance(first, str) else json.dumps(first, ensure_ascii=False)
        return self._types.ServerResult(
            self._types.CallToolResult(
                content=[self._types.TextContent(type="text", text=text)],
                structuredContent=result.outputs,
                _meta={"execution_id": result.execution_id, "usage": result.usage.to_json()},
            )
        )

    def _caller(self) -> Caller:
        caller: Caller = self.server.request_context.request.scope[_CALLER]
        return caller

    def _tool(self, registration: Registration) -> Any:
        description = registration.describe()
        return self._types.Tool(
            name=registration.name,
            title=description["title"],
            description=description["description"] or None,
            inputSchema=registration.input_schema,
            outputSchema=_object_schema(description.get("output_schema")),
        )

    def _failure(self, error: GatewayError) -> Any:
        self._gateway.metrics.refuse("caller", error.code)
        detail = error.body()["error"]
        text = f"{error.code}: {error.message}"
        return self._types.ServerResult(
            self._types.CallToolResult(
                content=[self._types.TextContent(type="text", text=text)], isError=True, _meta={"error": detail}
            )
        )


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """MCP takes output schemas of objects only."""
    return schema if schema is not None and schema.get("type") == "object" else None


def _replay(body: bytes) -> Receive:
    """The request's messages for the SDK, whose body was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    return receive
