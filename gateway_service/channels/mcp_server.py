"""What an MCP client finds here: registrations as tools, and the documentation of each as a resource.

The SDK takes half a second to import and none of it is typed as we need it, so its modules come in as arguments.
"""

from __future__ import annotations

import functools
import json
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from contract.admin_api import Channel
from contract.errors import ErrorCode
from gateway_service import VERSION
from gateway_service.documentation import markdown_of
from gateway_service.execution.engine import Invocation
from gateway_service.http import from_exception

if TYPE_CHECKING:
    from types import ModuleType

    from gateway_service.auth import Caller
    from gateway_service.errors import GatewayError
    from gateway_service.gateway import Gateway
    from gateway_service.registrations import Registration

CALLER = "kaizen.caller"
"""Where the request's ASGI scope holds the authenticated caller."""

URI_PREFIX = "kaizen://registrations/"
"""A registration's documentation is the resource ``kaizen://registrations/{name}``."""

_MARKDOWN = "text/markdown"
_RESOURCE_NOT_FOUND = -32_002
_INVALID_PARAMS = -32_602
_PROGRESS_EVERY_S = 0.1


def mcp_server(gateway: Gateway, lowlevel: ModuleType, types: ModuleType, exceptions: ModuleType) -> Any:
    """The SDK's server, answering with what the request's key may see.

    Args:
        gateway: whose registrations it shows.
        lowlevel: ``mcp.server.lowlevel``.
        types: ``mcp.types``.
        exceptions: ``mcp.shared.exceptions``.
    """
    server = lowlevel.Server("kaizen-gateway", version=VERSION)
    # The session handling asks for these without saying what changes. Both lists do, and `mcp_announcements` tells.
    changes = lowlevel.NotificationOptions(tools_changed=True, resources_changed=True)
    server.create_initialization_options = functools.partial(server.create_initialization_options, changes)
    tools, resources = _Tools(gateway, server, types), _Resources(server, types, exceptions)
    # Not through the SDK's decorators: they keep the tools of the first call, and ours change at run time.
    server.request_handlers |= {
        types.ListToolsRequest: tools.list,
        types.CallToolRequest: tools.call,
        types.ListResourcesRequest: resources.list,
        types.ListResourceTemplatesRequest: resources.list_templates,
        types.ReadResourceRequest: resources.read,
    }
    return server


class _Tools:
    """Registrations as MCP tools."""

    def __init__(self, gateway: Gateway, server: Any, types: Any) -> None:
        self._gateway = gateway
        self._server = server
        self._types = types

    async def list(self, _: Any) -> Any:
        """The tools in the key's scope."""
        registrations = _caller(self._server).registrations.values()
        result = self._types.ListToolsResult(tools=[self._tool(registration) for registration in registrations])
        return self._types.ServerResult(result)

    async def call(self, request: Any) -> Any:
        """Run a tool; what goes wrong is the tool's result, which the calling model can read."""
        try:
            caller = _caller(self._server)
            registration = caller.routed(caller.registration(request.params.name))
            inputs = request.params.arguments or {}
            invocation = Invocation(registration, inputs, caller.key_id, Channel.MCP)
            progress = _Progress.wanted(self._server.request_context)
            result = await self._gateway.engine.run(invocation, progress.say if progress else None)
            if progress:
                await progress.flush()
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


class _Progress:
    """Tells a client that asked for it what an agent says while it speaks.

    Each notification holds what was said since the last one, so that all of them together are the answer's text;
    `progress` counts its characters. They come no faster than a person could follow.
    """

    def __init__(self, session: Any, token: str | int, request_id: str | int) -> None:
        self._session = session
        self._token = token
        self._request_id = request_id
        self._unsent: list[str] = []
        self._said = 0
        self._sent_at = float("-inf")

    @classmethod
    def wanted(cls, context: Any) -> _Progress | None:
        """The progress of a request, if it carries a token for it."""
        token = None if context.meta is None else context.meta.progressToken
        return None if token is None else cls(context.session, token, context.request_id)

    async def say(self, text: str) -> None:
        """A piece of the answer arrived."""
        self._unsent.append(text)
        if time.monotonic() - self._sent_at >= _PROGRESS_EVERY_S:
            await self.flush()

    async def flush(self) -> None:
        """Send what is waiting."""
        text = "".join(self._unsent)
        if not text:
            return
        self._unsent.clear()
        self._said += len(text)
        self._sent_at = time.monotonic()
        await self._session.send_progress_notification(
            self._token, float(self._said), message=text, related_request_id=self._request_id
        )


class _Resources:
    """What there is to read about each registration."""

    def __init__(self, server: Any, types: Any, exceptions: Any) -> None:
        self._server = server
        self._types = types
        self._exceptions = exceptions

    async def list(self, _: Any) -> Any:
        """The documentation of everything in the key's scope."""
        registrations = _caller(self._server).registrations.values()
        resources = [self._resource(registration) for registration in registrations]
        return self._types.ServerResult(self._types.ListResourcesResult(resources=resources))

    async def list_templates(self, _: Any) -> Any:
        """How the addresses are made."""
        template = self._types.ResourceTemplate(
            uriTemplate=f"{URI_PREFIX}{{name}}",
            name="registration",
            title="Documentation of a registration",
            description="What an agent or a workflow is for, what it takes and what it answers.",
            mimeType=_MARKDOWN,
        )
        return self._types.ServerResult(self._types.ListResourceTemplatesResult(resourceTemplates=[template]))

    async def read(self, request: Any) -> Any:
        """One registration's documentation, as Markdown."""
        uri = str(request.params.uri)
        registration = self._registration(uri)
        contents = self._types.TextResourceContents(
            uri=request.params.uri, mimeType=_MARKDOWN, text=markdown_of(registration.describe())
        )
        return self._types.ServerResult(self._types.ReadResourceResult(contents=[contents]))

    def _registration(self, uri: str) -> Registration:
        if not uri.startswith(URI_PREFIX):
            raise self._refused(_INVALID_PARAMS, f"resources here are called {URI_PREFIX}{{name}}", uri)
        try:
            return _caller(self._server).registration(urllib.parse.unquote(uri.removeprefix(URI_PREFIX)))
        except Exception as error:  # noqa: BLE001 (each becomes a JSON-RPC error)
            refusal = from_exception(error)
            missing = refusal.code in (ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN)
            raise self._refused(_RESOURCE_NOT_FOUND if missing else _INVALID_PARAMS, refusal.message, uri) from None

    def _refused(self, code: int, message: str, uri: str) -> Exception:
        refusal: Exception = self._exceptions.McpError(
            self._types.ErrorData(code=code, message=message, data={"uri": uri[:200]})
        )
        return refusal

    def _resource(self, registration: Registration) -> Any:
        description = registration.describe()
        return self._types.Resource(
            uri=f"{URI_PREFIX}{registration.name}",
            name=registration.name,
            title=description["title"],
            description=description["description"] or None,
            mimeType=_MARKDOWN,
        )


def _caller(server: Any) -> Caller:
    caller: Caller = server.request_context.request.scope[CALLER]
    return caller


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """MCP takes output schemas of objects only."""
    return schema if schema is not None and schema.get("type") == "object" else None
