"""The official MCP client's HTTP, sent through the guarded client. Imported late: httpx takes its time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx

from gateway_service.outgoing.client import ANSWER_MAX_BYTES, OutgoingFailed, OutgoingRequest
from gateway_service.outgoing.rules import ForbiddenDestination, Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from gateway_service.outgoing.client import OutgoingClient

# The guarded client has unpacked and joined the body already, and knows its own lengths and connections.
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding", "connection", "set-cookie")
_SENT_BY_THE_CLIENT = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "user-agent")


def guarded_http(client: OutgoingClient, url: str, headers: Mapping[str, str], timeout_s: float) -> httpx.AsyncClient:
    """An httpx client for one MCP server, on the guarded one.

    Args:
        client: what everything is sent through.
        url: of the server; `headers` go to its origin and nowhere else.
        headers: of the tool, with secrets.
        timeout_s: seconds until a request has its answer's head.
    """
    transport = _GuardedTransport(client, Origin.of(url), headers)
    return httpx.AsyncClient(transport=transport, timeout=timeout_s, follow_redirects=False, trust_env=False)


class _GuardedTransport(httpx.AsyncBaseTransport):
    def __init__(self, client: OutgoingClient, origin: Origin, headers: Mapping[str, str]) -> None:
        self._client = client
        self._origin = origin
        self._headers = headers

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and hand its answer over as it arrives."""
        body = await request.aread()
        url = str(request.url)
        headers = {name: text for name, text in request.headers.items() if name not in _SENT_BY_THE_CLIENT}
        stack = AsyncExitStack()
        try:
            if Origin.of(url) == self._origin:
                headers |= self._headers
            outgoing = OutgoingRequest(request.method, url, headers, body or None)
            response = await stack.enter_async_context(self._client.open(outgoing))
        except (ForbiddenDestination, OutgoingFailed) as error:
            raise httpx.ConnectError(str(error), request=request) from None
        kept = [(name, text) for name, text in response.headers.items() if name.lower() not in _OF_THE_WIRE]
        return httpx.Response(response.status, headers=kept, stream=_Body(response, stack), request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, stack: AsyncExitStack) -> None:
        self._response = response
        self._stack = stack

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body, up to the bound that holds for every tool."""
        import aiohttp

        size = 0
        try:
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > ANSWER_MAX_BYTES:
                    raise httpx.ReadError("the MCP server answers with more than the gateway reads")
                yield chunk
        except aiohttp.ClientError:
            raise httpx.ReadError("the connection to the MCP server broke") from None

    async def aclose(self) -> None:
        """Let go of the connection, which is not used again unless all was read."""
        if not self._response.content.at_eof():
            self._response.close()
        await self._stack.aclose()
