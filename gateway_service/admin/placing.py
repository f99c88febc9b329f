"""Taking what Studio pushes: verify, check, store, swap, acknowledge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from contract.admin_api import Acknowledgement, Outcome, PutRequest
from contract.errors import ContractError, ErrorCode, NodeForbidden
from contract.generations import Verdict
from contract.kinds import TOMBSTONE_DIGEST, Kind
from gateway_service.errors import GatewayError
from gateway_service.store.placements import Incoming

if TYPE_CHECKING:
    from contract.document import Document
    from gateway_service.gateway import Gateway
    from gateway_service.store.placements import Placement

_OUTCOMES = {Verdict.APPLY: Outcome.APPLIED, Verdict.SAME: Outcome.SAME, Verdict.STALE: Outcome.STALE}


class Placing:
    """Applies signed envelopes to the store."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def put(self, kind: Kind, name: str, body: bytes) -> Acknowledgement:
        """Place a payload.

        Raises:
            GatewayError: the name, the body, the digest, the signature or the payload is wrong, or the generation is
                taken by another digest. Nothing was changed.
        """
        _check_name(kind, name)
        try:
            request = PutRequest.parse(kind, body)
        except ContractError as error:
            raise GatewayError(ErrorCode.INVALID_REQUEST, str(error), path=error.path) from None
        # In a thread: a large release takes a while to check, and callers are being served meanwhile.
        payload = await asyncio.to_thread(self._admitted, kind, request)
        if payload.digest != request.digest:
            raise GatewayError(ErrorCode.DIGEST_MISMATCH, "the digest is not the payload's", path="digest")
        return await self._apply(
            Incoming(kind.name, name, request.generation, request.digest, payload.canonical, request.signature)
        )

    async def delete(self, kind: Kind, name: str, generation: int, signature: str) -> Acknowledgement:
        """Leave a tombstone, also where there was nothing: what is deleted must not come back with an older push.

        Raises:
            GatewayError: the name or the signature is wrong, or the generation is taken. Nothing was changed.
        """
        _check_name(kind, name)
        return await self._apply(Incoming(kind.name, name, generation, TOMBSTONE_DIGEST, None, signature))

    def _admitted(self, kind: Kind, request: PutRequest) -> Document:
        try:
            return self._gateway.kinds[kind.name].admit(request.payload)
        except ContractError as error:
            path = f"{kind.payload_field}.{error.path}".rstrip(".")
            code = ErrorCode.NODE_FORBIDDEN if isinstance(error, NodeForbidden) else ErrorCode.INVALID_RELEASE
            raise GatewayError(code, f"{path}: {error.reason}", path=path) from None

    async def _apply(self, incoming: Incoming) -> Acknowledgement:
        if not self._gateway.trust.vouches_for(incoming):
            raise GatewayError(
                ErrorCode.INVALID_SIGNATURE,
                "the signature is not the organization's over this gateway, kind, name, generation and digest",
                path="signature",
            )
        verdict, placement = await asyncio.to_thread(self._gateway.store.apply, incoming)
        if verdict is Verdict.CONFLICT:
            raise GatewayError(
                ErrorCode.CONFLICT,
                f"generation {incoming.generation} of {incoming.kind} {incoming.name} has another digest here",
                path="generation",
            )
        await self._in_force(placement)
        return self._acknowledgement(placement, _OUTCOMES[verdict])

    async def _in_force(self, placement: Placement) -> None:
        """Acknowledged means served: the swap happens before the answer, and so does what the kind makes of it."""
        thing = self._gateway.state().live[placement.kind].get(placement.name)
        if thing is not None:
            await self._gateway.kinds[placement.kind].in_force(thing)

    def _acknowledgement(self, placement: Placement, outcome: Outcome) -> Acknowledgement:
        return Acknowledgement(
            registration_id=placement.registration_id,
            kind=placement.kind,
            name=placement.name,
            generation=placement.generation,
            digest=placement.digest,
            outcome=outcome,
            applied_at=placement.applied_at,
            receipt=self._gateway.identity.attest(placement),
        )


def _check_name(kind: Kind, name: str) -> None:
    try:
        kind.check_name(name)
    except ContractError as error:
        raise GatewayError(ErrorCode.INVALID_REQUEST, error.reason, path="name") from None
