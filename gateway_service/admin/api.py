"""The routes of the admin API. All of them ask for the deploy token, except health, readiness and the document."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from contract.admin_api import (
    EXECUTION_PAGE_LIMIT,
    PREFIX,
    SIGNATURE_HEADER,
    Capacity,
    DrainState,
    GatewayState,
)
from contract.canonical import MAX_SAFE_INTEGER
from contract.errors import ErrorCode
from contract.kinds import KINDS_BY_SEGMENT, Kind
from gateway_service import VERSION
from gateway_service.admin.placing import Placing
from gateway_service.auth import authenticate_studio
from gateway_service.errors import GatewayError
from gateway_service.http import JsonResponse, read_body, require_json
from gateway_service.kinds import Stops, Workflows
from gateway_service.openapi import admin_document

if TYPE_CHECKING:
    from pydantic import BaseModel
    from starlette.requests import Request

    from gateway_service.gateway import Gateway

_PUT_OVERHEAD_BYTES = 16_384


class AdminApi:
    """What Studio asks of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._placing = Placing(gateway)

    def routes(self) -> list[Route]:
        """What to mount."""
        guard = self._gateway.guard
        return [
            Route(f"{PREFIX}/openapi.json", guard(self.document), methods=["GET"]),
            Route(f"{PREFIX}/state", guard(self.state), methods=["GET"]),
            Route(f"{PREFIX}/drain", guard(self.drain), methods=["POST"]),
            Route(f"{PREFIX}/executions", guard(self.executions), methods=["GET"]),
            Route(f"{PREFIX}/{{segment}}/{{name}}", guard(self.put), methods=["PUT"]),
            Route(f"{PREFIX}/{{segment}}/{{name}}", guard(self.delete), methods=["DELETE"]),
            Route("/metrics", guard(self.metrics), methods=["GET"]),
        ]

    def probes(self) -> list[Route]:
        """What is open, and mounted wherever somebody may ask for it."""
        guard = self._gateway.guard
        return [
            Route("/healthz", guard(self.health), methods=["GET"]),
            Route("/readyz", guard(self.readiness), methods=["GET"]),
        ]

    async def document(self, _: Request) -> Response:
        """This API as OpenAPI. Open: it says nothing about this gateway."""
        return JsonResponse(admin_document())

    async def state(self, request: Request) -> Response:
        """Who the gateway is, what it holds, how busy it is."""
        self._authenticate(request)
        gateway, snapshot = self._gateway, self._gateway.state()
        engine = gateway.engine
        items = list(snapshot.items.values()) if _flag(request, "items") else None
        return _answer(
            GatewayState(
                gateway_id=gateway.identity.gateway_id,
                public_key=gateway.identity.public_key,
                boot_id=gateway.boot_id,
                version=VERSION,
                revision=snapshot.revision,
                state_digest=snapshot.digest,
                capacity=Capacity(max_concurrent=engine.max_concurrent, in_flight=engine.in_flight),
                registrations=len(snapshot.view(Workflows).releases),
                uptime_s=round(time.monotonic() - gateway.started, 3),
                draining=engine.draining,
                execution_epoch=gateway.log.epoch,
                execution_seq=gateway.log.newest_seq,
                items=items,
            )
        )

    async def put(self, request: Request) -> Response:
        """Place a thing."""
        self._authenticate(request)
        kind = _kind(request)
        require_json(request)
        body = await read_body(request, kind.payload.max_bytes + _PUT_OVERHEAD_BYTES)
        return _answer(await self._placing.put(kind, request.path_params["name"], body))

    async def delete(self, request: Request) -> Response:
        """Delete a thing."""
        self._authenticate(request)
        kind = _kind(request)
        generation = _number(request, "generation", None, 1, MAX_SAFE_INTEGER)
        signature = request.headers.get(SIGNATURE_HEADER, "")
        return _answer(await self._placing.delete(kind, request.path_params["name"], generation, signature))

    async def executions(self, request: Request) -> Response:
        """The execution log after a position."""
        self._authenticate(request)
        after = _number(request, "after", 0, 0, MAX_SAFE_INTEGER)
        limit = _number(request, "limit", EXECUTION_PAGE_LIMIT, 1, EXECUTION_PAGE_LIMIT)
        return _answer(await asyncio.to_thread(self._gateway.log.page, after, limit))

    async def drain(self, request: Request) -> Response:
        """Accept no more executions; those that run may finish. Only a restart ends it."""
        self._authenticate(request)
        engine = self._gateway.engine
        engine.draining = True
        return _answer(DrainState(draining=True, in_flight=engine.in_flight))

    async def metrics(self, request: Request) -> Response:
        """Metrics in Prometheus's text format."""
        self._authenticate(request)
        gateway, snapshot = self._gateway, self._gateway.state()
        content = gateway.metrics.exposition(
            in_flight=gateway.engine.in_flight,
            registrations=len(snapshot.view(Workflows).releases),
            stops=snapshot.view(Stops).count,
            revision=snapshot.revision,
        )
        return Response(content, media_type=gateway.metrics.content_type)

    async def health(self, _: Request) -> Response:
        """Whether the process answers."""
        return JsonResponse({"status": "ok"})

    async def readiness(self, _: Request) -> Response:
        """Whether callers may be sent here: loaded, not draining, and nothing in the store bars all calls."""
        if self._gateway.engine.draining:
            raise GatewayError(ErrorCode.DRAINING, "the gateway is about to stop")
        self._gateway.unblocked_state()
        return JsonResponse({"status": "ready"})

    def _authenticate(self, request: Request) -> None:
        authenticate_studio(request, self._gateway.settings.deploy_token)


def _answer(model: BaseModel) -> Response:
    return Response(model.model_dump_json(exclude_none=True), media_type="application/json")


def _kind(request: Request) -> Kind:
    kind = KINDS_BY_SEGMENT.get(request.path_params["segment"])
    if kind is None:
        raise GatewayError(ErrorCode.NOT_FOUND, f"there is no such path; known kinds: {', '.join(KINDS_BY_SEGMENT)}")
    return kind


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "0")
    if value not in ("0", "1"):
        raise GatewayError(ErrorCode.INVALID_REQUEST, f"{name} must be 0 or 1", path=name)
    return value == "1"


def _number(request: Request, name: str, default: int | None, least: int, most: int) -> int:
    text: Any = request.query_params.get(name, default)
    if isinstance(text, int):
        return text
    if not isinstance(text, str) or not text.isdecimal() or len(text) > 16 or not least <= int(text) <= most:
        raise GatewayError(
            ErrorCode.INVALID_REQUEST, f"{name} must be a whole number from {least} to {most}", path=name
        )
    return int(text)
