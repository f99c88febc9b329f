"""Guarded outgoing HTTP: an address that somebody typed must not make Studio talk to its own inside.

The guard looks at the addresses that a name resolves to, and connects to exactly those it looked at: a name that
resolves differently a moment later (DNS rebinding) gains nothing. TLS still verifies the name, and `Host` still carries
it. Redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio.to_thread
import httpcore
import httpx
from django.conf import settings

import contract.addresses
from apps.core.errors import Invalid

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from contract.addresses import IPAddress

_LONGEST_ADDRESS = 300


class ForbiddenAddress(httpcore.ConnectError):
    """The name resolves into a range that this installation does not allow. The message says which address."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: all that the address of a gateway consists of."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_origin(text: str) -> Origin:
    """Read `http(s)://host:port`; the port may be left out.

    Raises:
        Invalid: it is something else. The message says what is wrong with it, for the person who typed it.
    """
    text = text.strip()
    if len(text) > _LONGEST_ADDRESS:
        raise Invalid(f"The address is longer than {_LONGEST_ADDRESS} characters.")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise Invalid("The address holds a space or a control character.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Invalid("That is no address; write it as https://host:port.") from None
    if parts.scheme not in ("http", "https"):
        raise Invalid("Start the address with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise Invalid("The address must hold no user name or password; the deploy token has a field of its own.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Invalid("Leave out everything after the port: the address is https://host:port.")
    if not parts.hostname or port == 0:
        raise Invalid("The address names no host." if not parts.hostname else "The port must be from 1 to 65535.")
    return Origin(parts.scheme, _ascii_host(parts.hostname), port or (443 if parts.scheme == "https" else 80))


def _ascii_host(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        raise Invalid(f"“{host}” is no host name.") from None
    labels = name.split(".")
    if len(name) > 253 or not all(_is_label(label) for label in labels) or labels[-1].isdigit():
        raise Invalid(f"“{host}” is no host name.")
    return name


def _is_label(label: str) -> bool:
    return 0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() and label.strip("-") == label


def check_origin(origin: Origin) -> None:
    """Refuse an origin that resolves nowhere, or into a forbidden range. Connecting checks again.

    Raises:
        Invalid: with the reason.
    """
    try:
        allowed_addresses(origin.host, origin.port)
    except ForbiddenAddress as error:
        raise Invalid(str(error)) from None
    except httpcore.ConnectError:
        raise Invalid(f"The name {origin.host} does not resolve.") from None


def allowed_addresses(host: str, port: int) -> list[IPAddress]:
    """What a host resolves to, if this installation may connect to all of it.

    Raises:
        ForbiddenAddress: one of the addresses is in a forbidden range. One is enough: which of them would be used is
            not for the name's owner to say.
        httpcore.ConnectError: it does not resolve.
    """
    addresses = _resolve(host, port)
    for address in addresses:
        reason = why_forbidden(address)
        if reason:
            shown = f"{host} is" if str(address) == host else f"{host} resolves to {address}, which is"
            raise ForbiddenAddress(f"{shown} {reason}. Studio does not connect there.")
    return addresses


def _resolve(host: str, port: int) -> list[IPAddress]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    if host == "localhost" or host.endswith(".localhost"):
        # RFC 6761: these names are the loopback and never a question to DNS; the C library only knows the first.
        return [ipaddress.ip_address("127.0.0.1")]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise httpcore.ConnectError("name does not resolve") from None
    # A scoped address (fe80::1%eth0) keeps its scope here, and is refused as link-local.
    unique = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [ipaddress.ip_address(text) for text in unique]


def why_forbidden(address: IPAddress) -> str:
    """What is wrong with an address, or "" if Studio may connect to it."""
    return contract.addresses.why_forbidden(address, settings.KAIZEN_ALLOWED_GATEWAY_NETWORKS)


_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
# What is sent between two looks at the clock.
_PIECE_BYTES = 16 * 1024


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Bound whole exchanges of `guarded_client`s by this thread: the timeouts of httpx begin anew with every byte.

    What takes longer fails with the timeout of what it was at: `httpx.ConnectTimeout`, `ReadTimeout`, `WriteTimeout`.
    """
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _time_left(timeout: float | None, expired: type[httpcore.TimeoutException]) -> float | None:
    """How long one operation may take: its own timeout, or what is left until the deadline.

    Raises:
        httpcore.TimeoutException: of the class `expired`, if nothing is left.
    """
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise expired("the whole exchange took too long")
    return left if timeout is None else min(timeout, left)


class _TimedStream(httpcore.NetworkStream):
    """A connection that keeps to the deadline of the thread that uses it at the moment."""

    def __init__(self, plain: httpcore.NetworkStream) -> None:
        self._plain = plain

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._plain.read(max_bytes, _time_left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            piece = buffer[start : start + _PIECE_BYTES]
            self._plain.write(piece, _time_left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _time_left(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._plain.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)


class _GuardedBackend(httpcore.NetworkBackend):
    """Resolves, checks and connects to what was checked."""

    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        addresses = allowed_addresses(host, port)
        for address in addresses[:-1]:
            try:
                return self._connect(address, port, timeout, *args, **kwargs)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(addresses[-1], port, timeout, *args, **kwargs)

    def _connect(
        self, address: IPAddress, port: int, timeout: float | None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        left = _time_left(timeout, httpcore.ConnectTimeout)
        return _TimedStream(self._plain.connect_tcp(str(address), port, left, *args, **kwargs))


class _GuardedAsyncBackend(httpcore.AsyncNetworkBackend):
    """The same for asynchronous clients; names are resolved in a thread."""

    def __init__(self) -> None:
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        addresses = await anyio.to_thread.run_sync(allowed_addresses, host, port)
        for address in addresses[:-1]:
            try:
                return await self._plain.connect_tcp(str(address), port, *args, **kwargs)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._plain.connect_tcp(str(addresses[-1]), port, *args, **kwargs)


def guarded_client(
    *, timeout: httpx.Timeout, limits: httpx.Limits, base_url: str = "", tls: ssl.SSLContext | None = None
) -> httpx.Client:
    """An httpx client that connects to allowed addresses only.

    Args:
        timeout: of each step of an exchange.
        limits: of its connections.
        base_url: what paths are relative to.
        tls: whom it trusts and what it shows, instead of the authorities that everybody trusts and nothing.
    """
    transport = httpx.HTTPTransport(verify=tls or _tls(), trust_env=False, limits=limits)
    # httpx offers no way to hand its transport a network backend; the attribute is httpcore's constructor argument.
    transport._pool._network_backend = _GuardedBackend()  # noqa: SLF001
    return httpx.Client(
        transport=transport, timeout=timeout, base_url=base_url, follow_redirects=False, trust_env=False
    )


def guarded_async_client(*, timeout: httpx.Timeout, limits: httpx.Limits, base_url: str = "") -> httpx.AsyncClient:
    """The asynchronous kind of `guarded_client`."""
    transport = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits)
    transport._pool._network_backend = _GuardedAsyncBackend()  # noqa: SLF001
    return httpx.AsyncClient(
        transport=transport, timeout=timeout, base_url=base_url, follow_redirects=False, trust_env=False
    )


_contexts: list[ssl.SSLContext] = []


def _tls() -> ssl.SSLContext:
    """One context for all clients: loading the certificates takes 20 ms."""
    if not _contexts:
        _contexts.append(httpx.create_ssl_context(trust_env=False))
    return _contexts[0]
