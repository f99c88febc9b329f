"""Executions in the background, as their key sees them: ask for one, cancel one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from contract.errors import ErrorCode
from gateway_service.auth import authenticate_caller
from gateway_service.errors import GatewayError
from gateway_service.http import JsonResponse
from gateway_service.moments import moment

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway_service.execution.engine import Invocation
    from gateway_service.execution.results import KeptExecution
    from gateway_service.gateway import Gateway

_ASK_AGAIN_S = 1
_ID_MAX_LENGTH = 64


class ExecutionsChannel:
    """The routes under ``/executions``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """What to mount."""
        guard = self._gateway.guard
        return [
            Route("/executions/{execution_id}", guard(self.describe), methods=["GET"]),
            Route("/executions/{execution_id}", guard(self.cancel), methods=["DELETE"]),
        ]

    async def describe(self, request: Request) -> Response:
        """Whether an execution still runs, or how it ended."""
        caller = authenticate_caller(request, self._gateway.state())
        kept = await self._gateway.background.find(caller.key_id, _execution_id(request))
        headers = {"Cache-Control": "no-store"}
        if kept.ending is None:
            headers["Retry-After"] = str(_ASK_AGAIN_S)
        return JsonResponse(_shown(kept), headers=headers)

    async def cancel(self, request: Request) -> Response:
        """End an execution if it runs, and forget its result."""
        caller = authenticate_caller(request, self._gateway.state())
        await self._gateway.background.cancel(caller.key_id, _execution_id(request))
        return Response(status_code=204)


def accepted(invocation: Invocation) -> Response:
    """The answer to a call in the mode `async`."""
    location = f"/executions/{invocation.execution_id}"
    body = {
        "execution_id": invocation.execution_id,
        "registration": invocation.registration.name,
        "release": invocation.registration.digest,
        "status": "running",
    }
    headers = {**invocation.headers, "Location": location, "Retry-After": str(_ASK_AGAIN_S)}
    return JsonResponse(body, status_code=202, headers=headers)


def _execution_id(request: Request) -> str:
    execution_id: str = request.path_params["execution_id"]
    if len(execution_id) > _ID_MAX_LENGTH:
        raise GatewayError(ErrorCode.NOT_FOUND, "the key has no such execution, or has it no more")
    return execution_id


def _shown(kept: KeptExecution) -> dict[str, Any]:
    """As callers see it: `result` has the body of a synchronous answer, `error` that of a failed one."""
    shown = {
        "execution_id": kept.execution_id,
        "registration": kept.registration,
        "status": "running" if kept.ending is None else "finished",
        "started_at": moment(kept.started_at),
    }
    if kept.ending is None or kept.finished_at is None:
        return shown
    times = {"finished_at": moment(kept.finished_at), "expires_at": moment(kept.expires_at)}
    return {**shown, **times, **json.loads(kept.ending)}
