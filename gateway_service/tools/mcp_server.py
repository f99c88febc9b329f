"""Tools of MCP servers, through the official SDK as the client."""

from __future__ import annotations

import asyncio
import importlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gateway_service.models.messages import ToolDefinition
from gateway_service.tools.http_tool import sent_headers
from gateway_service.tools.offered import ToolFailed, cut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from contract.tools import McpTools
    from gateway_service.outgoing.client import OutgoingClient
    from gateway_service.outgoing.secrets import ToolSecret

_PAGES_MAX = 20
_CLOSING_S = 2.0

_log = logging.getLogger(__name__)


class McpServerTool:
    """One tool of an MCP server, ready to be called."""

    type = "mcp"

    def __init__(self, session: Any, name: str, definition: ToolDefinition, timeout_s: float) -> None:
        self.definition = definition
        self._session = session
        self._name = name
        self._timeout_s = timeout_s

    async def call(self, arguments: dict[str, Any]) -> str:
        """Call it; what the server calls an error is a failure."""
        patience = timedelta(seconds=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._session.call_tool(self._name, arguments, read_timeout_seconds=patience)
        except TimeoutError:
            raise ToolFailed(f"the MCP server did not answer within {self._timeout_s:g} s") from None
        except Exception as error:  # noqa: BLE001 (the SDK raises of all kinds, and the model must hear of each)
            _log.info("an MCP tool failed with %s", type(error).__name__)
            raise ToolFailed("the MCP server refused the call, or its answer was malformed") from None
        text = cut("\n".join(_shown(part) for part in result.content))
        if result.isError:
            raise ToolFailed(text)
        return text


class McpConnection:
    """A connection to one MCP server, for as long as an agent works.

    The SDK's task group lives in a task of its own: a server that breaks off must fail its own calls, and not cancel
    the agent that waits for something else.
    """

    def __init__(self, tools: McpTools, client: OutgoingClient, secrets: Mapping[str, ToolSecret]) -> None:
        self._tools = tools
        self._client = client
        self._secrets = secrets
        self._closing = asyncio.Event()
        self._connected: asyncio.Future[list[McpServerTool]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> list[McpServerTool]:
        """Connect, and find the tools that the release names.

        Raises:
            ToolFailed: the server cannot be used.
        """
        self._task = asyncio.create_task(self._keep_connected(), name="mcp-client")
        try:
            async with asyncio.timeout(self._tools.timeout_s):
                either: set[asyncio.Future[Any]] = {self._task, self._connected}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except BaseException as error:
            self._task.cancel()
            if isinstance(error, TimeoutError):
                raise ToolFailed("it did not answer in time") from None
            raise
        if not self._connected.done():
            self._log_failure(self._task)
            raise ToolFailed("it cannot be reached, or does not speak the protocol")
        return self._connected.result()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the session."""
        assert self._task is not None
        self._closing.set()
        try:
            await asyncio.wait({self._task}, timeout=_CLOSING_S)
        finally:
            if not self._task.cancel():
                # Look at how it ended, or asyncio would complain: whatever broke has failed its own calls already.
                self._log_failure(self._task)

    async def _keep_connected(self) -> None:
        mcp, transport, streamable_http = await asyncio.to_thread(_modules)
        headers = sent_headers(self._tools.headers, self._tools.url, self._secrets)
        http = transport.guarded_http(self._client, self._tools.url, headers, self._tools.timeout_s)
        async with (
            http,
            streamable_http.streamable_http_client(self._tools.url, http_client=http) as (reads, writes, _),
            mcp.ClientSession(reads, writes) as session,
        ):
            await session.initialize()
            self._connected.set_result(await self._chosen(session))
            await self._closing.wait()

    async def _chosen(self, session: Any) -> list[McpServerTool]:
        """The tools that the release names, as far as the server has them."""
        wanted, found, cursor = set(self._tools.tools), [], None
        for _ in range(_PAGES_MAX):
            page = await session.list_tools(cursor)
            found += [tool for tool in page.tools if tool.name in wanted]
            cursor = page.nextCursor
            if cursor is None:
                break
        return [self._offered(session, tool) for tool in found]

    def _offered(self, session: Any, tool: Any) -> McpServerTool:
        definition = ToolDefinition(
            self._tools.shown(tool.name), cut(tool.description or tool.title or tool.name), tool.inputSchema
        )
        return McpServerTool(session, tool.name, definition, self._tools.timeout_s)

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        _log.warning("the MCP server %s of an agent cannot be used: %s", self._tools.name, type(error).__name__)


def _modules() -> tuple[Any, Any, Any]:
    """The SDK and what brings it to the guarded client; half a second, the first time."""
    return (
        importlib.import_module("mcp"),
        importlib.import_module("gateway_service.tools.mcp_transport"),
        importlib.import_module("mcp.client.streamable_http"),
    )


def _shown(part: Any) -> str:
    """A part of a result as text. Images and sounds are named only: not every model could take them."""
    if part.type == "text":
        return str(part.text)
    if part.type == "resource" and hasattr(part.resource, "text"):
        return str(part.resource.text)
    return f"[{part.type}]"
