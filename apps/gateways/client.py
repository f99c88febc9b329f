"""Studio's side of the admin API: typed calls to one gateway, and what can go wrong with them in words."""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Self, TypeVar

import httpcore
import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pydantic import ValidationError

from apps.core.database import let_go
from apps.core.errors import GatewayUnavailable
from apps.core.outgoing import ForbiddenAddress, guarded_client, within
from apps.core.secrets import decrypt
from contract.admin_api import (
    PREFIX,
    SIGNATURE_HEADER,
    Acknowledgement,
    Answer,
    DrainState,
    ExecutionPage,
    GatewayState,
)
from contract.errors import ErrorBody

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from apps.gateways.kinds import Kind
    from apps.gateways.models import Gateway
    from contract.envelope import Envelope

A = TypeVar("A", bound=Answer)

CONNECT_S = 3.0
ANSWER_S = 10.0
_MIB = 1024 * 1024
_ANSWER_BYTES = 1 * _MIB
_LONG_ANSWER_BYTES = 32 * _MIB
_POOLS_KEPT = 512


class GatewayProblem(GatewayUnavailable):
    """A call to a gateway that did not go as agreed.

    Attributes:
        reason: stable name in kebab case, for conditions and programs.
        message: the same for people; holds no secret and nothing that the gateway's error page said.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class GatewayUnreachable(GatewayProblem):
    """No answer, or one that says that the gateway is not working. Trying again helps."""


class GatewayRefusal(GatewayProblem):
    """The gateway does not accept the deploy token. Somebody has to correct it."""


class GatewayRejection(GatewayProblem):
    """The gateway works and will not take this. The same again will not help.

    Attributes:
        gateway_code: of `contract.errors.ErrorCode`.
    """

    def __init__(self, gateway_code: str, message: str) -> None:
        self.gateway_code = gateway_code
        super().__init__(gateway_code.replace("_", "-"), message)


class GatewayMisbehaved(GatewayProblem):
    """The answer is none that a gateway of this contract gives."""


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """Calls to the gateway at one address. Safe to use from several threads.

    Connections are pooled per gateway and few, so that a slow gateway has no connections of another to hold.
    """

    address: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """The client for a gateway's present address and token.

        Raises:
            Conflict: the token cannot be decrypted, because its key is missing from the environment.
        """
        return cls(gateway.address, decrypt(gateway.deploy_token).decode())

    def state(self, *, items: bool = False) -> GatewayState:
        """What the gateway says of itself, with everything it holds if `items`."""
        query = "?items=1" if items else ""
        return self._call("GET", f"/state{query}", GatewayState, limit=_LONG_ANSWER_BYTES if items else _ANSWER_BYTES)

    def put(self, kind: Kind, envelope: Envelope, payload: bytes, key: Ed25519PrivateKey) -> Acknowledgement:
        """Place a payload."""
        body = kind.put_body(envelope, payload, key)
        return self._call("PUT", f"/{kind.segment}/{envelope.name}", Acknowledgement, body=body)

    def delete(self, kind: Kind, envelope: Envelope, key: Ed25519PrivateKey) -> Acknowledgement:
        """Place a tombstone."""
        path = f"/{kind.segment}/{envelope.name}?generation={envelope.generation}"
        return self._call("DELETE", path, Acknowledgement, headers={SIGNATURE_HEADER: envelope.sign(key)})

    def drain(self) -> DrainState:
        """Ask it to finish what runs and to accept nothing new."""
        return self._call("POST", "/drain", DrainState)

    def executions(self, *, after: int, limit: int) -> ExecutionPage:
        """A page of the execution log."""
        path = f"/executions?after={after}&limit={limit}"
        return self._call("GET", path, ExecutionPage, limit=_LONG_ANSWER_BYTES)

    def _call(
        self,
        method: str,
        path: str,
        answer: type[A],
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        limit: int = _ANSWER_BYTES,
    ) -> A:
        """One request. No connection to the database is held while it is waited for.

        Raises:
            GatewayProblem: the kinds above.
        """
        sent = {"Authorization": f"Bearer {self.token}", "Accept-Encoding": "identity", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        let_go()
        try:
            status, content = self._exchange(method, PREFIX + path, sent, body, limit)
        except httpx.HTTPError as error:
            raise _network_problem(error) from None
        if status != 200:
            raise _status_problem(status, content)
        try:
            return answer.model_validate_json(content)
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
            raise GatewayMisbehaved(
                "unintelligible-answer", f"what answers there does not speak this version of the admin API ({where})"
            ) from None

    def _exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None, limit: int
    ) -> tuple[int, bytes]:
        # Whoever drips head or body byte by byte must not hold a thread for longer than who says nothing.
        whole = within(CONNECT_S + ANSWER_S)
        with whole, _pool(self.address).stream(method, path, headers=headers, content=body) as response:
            received = bytearray()
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > limit:
                    raise GatewayMisbehaved("endless-answer", f"its answer is larger than {limit // _MIB} MiB")
            return response.status_code, bytes(received)


def _network_problem(error: httpx.HTTPError) -> GatewayProblem:
    """What a failed exchange means. The library's own text is not shown: it may hold the address's credentials."""
    if isinstance(error, httpx.ConnectTimeout):
        return GatewayUnreachable("connect-timed-out", f"no connection within {CONNECT_S:.0f} s")
    if isinstance(error, httpx.PoolTimeout):
        return GatewayUnreachable("busy", "all connections to it are busy")
    if isinstance(error, httpx.TimeoutException):
        return GatewayUnreachable("timed-out", f"no answer within {ANSWER_S:.0f} s")
    if isinstance(error, httpx.ConnectError):
        return _connect_problem(error)
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        # With TLS 1.3 a certificate that the other side does not accept looks like this, too.
        unshown = error.request.url.scheme == "https" and not settings.KAIZEN_GATEWAY_CLIENT_CERT
        hint = "; if it demands a client's certificate: Studio has none" if unshown else ""
        return GatewayUnreachable("connection-lost", f"the connection was closed before the answer{hint}")
    return GatewayMisbehaved("no-http", "what answers there does not speak HTTP as agreed")


def _connect_problem(error: httpx.ConnectError) -> GatewayProblem:
    cause = error.__cause__
    if isinstance(cause, ForbiddenAddress):
        return GatewayUnreachable("forbidden-address", str(cause).rstrip("."))
    # httpcore raises its own error while it handles the system's, without naming that as the cause.
    root = cause.__cause__ or cause.__context__ if isinstance(cause, httpcore.ConnectError) else None
    if isinstance(root, ConnectionRefusedError):
        return GatewayUnreachable("connection-refused", "connection refused")
    if isinstance(root, OSError) and root.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return GatewayUnreachable("no-route", "no route to its address")
    text = str(error)
    if "SSL" in text or "certificate" in text.lower():
        return GatewayUnreachable("tls-failed", f"the TLS handshake failed: {_tls_reason(text)}")
    if "resolve" in text:
        return GatewayUnreachable("name-unknown", "its host name does not resolve")
    return GatewayUnreachable("connection-failed", "no connection could be made")


def _tls_reason(text: str) -> str:
    lowered = text.lower()
    known = {
        "self-signed": "the certificate is self-signed",
        "self signed": "the certificate is self-signed",
        "expired": "the certificate has expired",
        "hostname mismatch": "the certificate is for another name",
        "unable to get local issuer": "the certificate's issuer is not trusted",
        "wrong version number": "the port does not speak TLS",
        "record layer failure": "the port does not speak TLS",
    }
    return next((meaning for mark, meaning in known.items() if mark in lowered), "it is not trusted")


def _status_problem(status: int, content: bytes) -> GatewayProblem:
    code, message = _error_of(content)
    if status in (401, 403) and code != "invalid_signature":
        return GatewayRefusal("token-refused", "it does not accept the deploy token")
    if status >= 500:
        return GatewayUnreachable("failing", f"it answers with an error ({status}{f', {code}' if code else ''})")
    if not code:
        return GatewayMisbehaved("no-gateway", f"what answers there is no gateway (HTTP status {status})")
    if status == 404:
        return GatewayMisbehaved("no-such-call", "it does not know this call of the admin API; it may be too old")
    return GatewayRejection(code, f"it rejected this: {message}" if message else "it rejected this")


def _error_of(content: bytes) -> tuple[str, str]:
    """Code and message of a gateway's own error body; empty for any other."""
    try:
        detail = ErrorBody.model_validate_json(content).error
    except ValidationError:
        return "", ""
    return detail.code.value, detail.message[:200]


@cache
def tls_towards_gateways() -> ssl.SSLContext:
    """Studio's certificate, where it has one, and whom it trusts.

    Only gateways see the certificate: it is no part of any other outgoing connection.

    Raises:
        ImproperlyConfigured: a file is not what its variable says.
    """
    context = httpx.create_ssl_context(trust_env=False)
    try:
        if settings.KAIZEN_GATEWAY_CA:
            context.load_verify_locations(settings.KAIZEN_GATEWAY_CA)
        if settings.KAIZEN_GATEWAY_CLIENT_CERT:
            context.load_cert_chain(settings.KAIZEN_GATEWAY_CLIENT_CERT, settings.KAIZEN_GATEWAY_CLIENT_KEY)
    except OSError as error:
        raise ImproperlyConfigured(
            "KAIZEN_GATEWAY_CLIENT_CERT, KAIZEN_GATEWAY_CLIENT_KEY or KAIZEN_GATEWAY_CA is no PEM file, or certificate "
            f"and key do not belong together: {error.strerror}"
        ) from None
    return context


_pools: OrderedDict[str, httpx.Client] = OrderedDict()
_pools_lock = threading.Lock()


def _pool(address: str) -> httpx.Client:
    """This process's connections to one address."""
    with _pools_lock:
        pool = _pools.get(address)
        if pool is None:
            pool = _pools[address] = guarded_client(
                base_url=address,
                tls=tls_towards_gateways(),
                timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S, pool=CONNECT_S),
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=30.0),
            )
        _pools.move_to_end(address)
        # One that is dropped while another thread uses it stays alive as long as that thread holds it.
        while len(_pools) > _POOLS_KEPT:
            _pools.popitem(last=False)
        return pool
