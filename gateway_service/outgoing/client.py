"""The one client through which agents' tools leave the gateway.

Authors of releases write URLs, language models write arguments, and whoever answers writes redirects.
None of them is trusted: hosts are on the operator's allowlist, redirects are looked at like first requests, and the
last word is spoken where the socket is made, about the very address it will connect to. A name that resolves
differently a moment later (DNS rebinding) therefore gains nothing. No cookies, no proxies of the environment, and no
header of a tool goes to another origin than its own.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin

from contract.addresses import why_forbidden
from gateway_service.outgoing.rules import ForbiddenDestination, Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from gateway_service.outgoing.rules import OutgoingRules

MAX_REDIRECTS = 3
ANSWER_MAX_BYTES = 1_048_576
"""What is read of an answer; the rest is left with its server."""

_CONNECT_TIMEOUT_S = 5.0
_CHUNK_BYTES = 65_536
_HEADER_MAX_BYTES = 16_384
_REDIRECTS = (301, 302, 303, 307, 308)
_KEEPS_METHOD = (307, 308)


class OutgoingFailed(Exception):
    """The other side could not be reached, or broke off. The message is ours, not theirs."""


@dataclass(frozen=True)
class OutgoingRequest:
    """One request of a tool.

    Attributes:
        headers: of the tool; they may hold secrets, and stay with the origin of `url`.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class OutgoingAnswer:
    """What came back.

    Attributes:
        truncated: whether there was more than the gateway reads.
    """

    status: int
    content_type: str
    content: bytes = field(repr=False)
    charset: str = "utf-8"
    truncated: bool = False

    def text(self) -> str:
        """The content as text; what is no text in its declared encoding is replaced."""
        try:
            return self.content.decode(self.charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")


class _ForbiddenAddress(OSError):
    """A destination resolves to an address that the operator does not allow."""


class OutgoingClient:
    """Sends requests to allowed destinations only. Lives on one event loop."""

    def __init__(self, rules: OutgoingRules) -> None:
        self._rules = rules
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close idle connections."""
        if self._session is not None:
            await self._session.close()

    async def fetch(self, request: OutgoingRequest, *, timeout_s: float) -> OutgoingAnswer:
        """Send a request, follow its redirects, and read the answer up to `ANSWER_MAX_BYTES`.

        Args:
            request: what to send.
            timeout_s: seconds for all of it, redirects and the last byte included.

        Raises:
            ForbiddenDestination: the destination, or that of a redirect, is not allowed.
            OutgoingFailed: there was no answer, or not in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._followed(request)
        except TimeoutError:
            raise OutgoingFailed(f"there was no whole answer within {timeout_s:g} s") from None

    @asynccontextmanager
    async def open(self, request: OutgoingRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and hand over its answer as it arrives. Redirects are answers here; the time is the caller's.

        Raises:
            ForbiddenDestination: the destination is not allowed.
            OutgoingFailed: there was no answer.
        """
        import aiohttp

        self._rules.check(Origin.of(request.url))
        if self._session is None:
            self._session = _open_session(self._rules)
        try:
            async with self._session.request(
                request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _ForbiddenAddress):
                raise ForbiddenDestination(str(error.os_error)) from None
            raise OutgoingFailed("it could not be reached") from None
        except (aiohttp.ClientError, ValueError):
            raise OutgoingFailed("the connection broke, or the answer was malformed") from None

    async def _followed(self, request: OutgoingRequest) -> OutgoingAnswer:
        for _ in range(MAX_REDIRECTS + 1):
            async with self.open(request) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    return await _read(response)
                request = _redirected(request, response.status, location)
        raise OutgoingFailed(f"it redirects more than {MAX_REDIRECTS} times")


def _redirected(request: OutgoingRequest, status: int, location: str) -> OutgoingRequest:
    url = urldefrag(urljoin(request.url, location)).url
    before, after = Origin.of(request.url), Origin.of(url)
    if before.scheme == "https" and after.scheme == "http":
        raise ForbiddenDestination("it redirects from https to http")
    if before != after:
        request = replace(request, headers=_without_secrets(request.headers))
    if status not in _KEEPS_METHOD and request.method != "HEAD":
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
        request = replace(request, method="GET", body=None, headers=headers)
    return replace(request, url=url)


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """What may go to another origin: what the body is, and nothing that a tool's author wrote."""
    return {name: value for name, value in headers.items() if name.lower() in ("content-type", "accept")}


async def _read(response: aiohttp.ClientResponse) -> OutgoingAnswer:
    content, truncated = bytearray(), False
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            truncated = True
            # The connection cannot be used again: the rest would lie in it.
            response.close()
            break
    return OutgoingAnswer(
        status=response.status,
        content_type=response.content_type,
        content=bytes(content[:ANSWER_MAX_BYTES]),
        charset=response.charset or "utf-8",
        truncated=truncated,
    )


def _open_session(rules: OutgoingRules) -> aiohttp.ClientSession:
    import aiohttp

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        """Make the socket for an address that may be connected to; every connection comes through here."""
        family, kind, protocol, _, place = address
        reason = why_forbidden(ip_address(place[0]), rules.networks)
        if reason:
            raise _ForbiddenAddress(f"it is at {reason}, and the gateway's operator does not allow that")
        return socket.socket(family, kind, protocol)

    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=15, socket_factory=make_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        # Nothing is asked to be compressed: a small answer that unpacks to gigabytes should be nobody's idea.
        headers={"Accept-Encoding": "identity", "User-Agent": "kaizen-gateway"},
        max_line_size=_HEADER_MAX_BYTES,
        max_field_size=_HEADER_MAX_BYTES,
        trust_env=False,
    )
