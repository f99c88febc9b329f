"""Who is asking. Callers come with a gateway key, Studio with the deploy token; neither opens the other's door."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from contract.caller_keys import EVERYTHING, CallerKey, KeyText
from contract.errors import ContractError, ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.kinds import CallerKeys, Stops, Workflows
from gateway_service.routing import routed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from starlette.requests import Request

    from gateway_service.live_state import Snapshot
    from gateway_service.registrations import Registration

Body = TypeVar("Body")

_NOBODYS = CallerKey(hash=f"sha256:{'0' * 64}", scopes=[EVERYTHING])
"""What a key is compared with that does not exist."""


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and the state its request is answered from."""

    key_id: str
    key: CallerKey
    snapshot: Snapshot

    def registration(self, name: str) -> Registration:
        """The registration of a name, if the key may call it.

        The scope is asked first, and answers alike for names that exist and names that do not: a key learns nothing
        about what lies beyond its scope.

        Raises:
            GatewayError: forbidden, or not there.
        """
        if not self.key.allows(name):
            raise GatewayError(ErrorCode.FORBIDDEN, "the key's scope does not include this registration")
        registration = self.snapshot.view(Workflows).releases.get(name)
        if registration is None:
            raise GatewayError(ErrorCode.NOT_FOUND, "there is no such registration on this gateway")
        return registration

    def routed(self, registration: Registration, sticky: str | None = None) -> Registration:
        """What answers a call of a registration: itself, or its canary.

        Args:
            registration: what the caller named.
            sticky: what the calls of one session have in common.
        """
        return routed(self.snapshot, registration, self.key_id, sticky)

    def describe(self, registration: Registration) -> dict[str, Any]:
        """What the caller may know of a registration. It is the same whichever part of the traffic a canary takes."""
        return {**registration.describe(), "stopped": self.snapshot.view(Stops).covers(registration)}

    @property
    def registrations(self) -> dict[str, Registration]:
        """The registrations that the key may call, by name."""
        everything = self.snapshot.view(Workflows).releases
        return {name: registration for name, registration in everything.items() if self.key.allows(name)}


def authenticate_caller(request: Request, snapshot: Snapshot) -> Caller:
    """The caller of a request, by ``Authorization: Bearer kzk_…``, or by Basic with the key as the password.

    Raises:
        GatewayError: no key, or one that is unknown, wrong, revoked or expired. Which of these is not told.
    """
    try:
        key_text = KeyText.parse(_credential(request))
    except ContractError:
        raise _unauthenticated() from None
    # An id that does not exist costs what a wrong secret costs, so that the time of an answer names no ids.
    key = snapshot.view(CallerKeys).get(key_text.id, _NOBODYS)
    if not key.matches(key_text) or key is _NOBODYS or key.expired():
        raise _unauthenticated()
    return Caller(key_text.id, key, snapshot)


async def caller_at_end(
    request: Request, state: Callable[[], Snapshot], read: Callable[[], Awaitable[Body]]
) -> tuple[Caller, Body]:
    """The caller of a request whose body is read, and the body.

    Asked before, since nothing of a stranger's is read, and again after: the body comes at its sender's pace, and
    neither a revoked key nor a replaced release is good for one more execution because somebody began to send early.

    Raises:
        GatewayError: as `authenticate_caller`, or from `read`.
    """
    caller = authenticate_caller(request, state())
    body = await read()
    snapshot = state()
    if snapshot is caller.snapshot and not caller.key.expired():
        return caller, body
    return authenticate_caller(request, snapshot), body


def authenticate_studio(request: Request, deploy_token: str) -> None:
    """Let the owner of the deploy token pass.

    Raises:
        GatewayError: another token, or none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = token.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, deploy_token.encode()):
        raise GatewayError(ErrorCode.UNAUTHENTICATED, "the deploy token is missing or wrong")


def _credential(request: Request) -> str:
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return credential.strip()
        case "basic":
            return _password(credential.strip())
        case _:
            return ""


def _password(credential: str) -> str:
    try:
        return base64.b64decode(credential, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _unauthenticated() -> GatewayError:
    return GatewayError(ErrorCode.UNAUTHENTICATED, "a valid gateway key is needed, as 'Authorization: Bearer <key>'")
