"""The API channel: list, describe and execute registrations; and the two routes that the stock Nexus CLI speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from contract.admin_api import Channel
from contract.errors import ErrorCode
from gateway_service.auth import authenticate_caller, caller_at_end
from gateway_service.channels.event_stream import sse
from gateway_service.channels.executions import accepted
from gateway_service.errors import GatewayError
from gateway_service.execution.engine import Invocation
from gateway_service.http import JsonResponse, read_json_object, unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway_service.auth import Caller
    from gateway_service.execution.engine import Result
    from gateway_service.gateway import Gateway

CHANNEL_HEADER = "Kaizen-Channel"
_SESSION_ID_MAX_LENGTH = 128
_MEMBERS = {"inputs", "session_id", "mode"}


class ApiChannel:
    """The routes under ``/workflows``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """What to mount."""
        guard = self._gateway.guard
        return [
            Route("/workflows", guard(self.list), methods=["GET"]),
            Route("/workflows/{name}", guard(self.describe), methods=["GET"]),
            Route("/workflows/{name}", guard(self.execute_as_nexus), methods=["POST"]),
            Route("/workflows/{name}/execute", guard(self.execute), methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """The registrations in the key's scope, by name."""
        caller = authenticate_caller(request, self._gateway.state())
        return JsonResponse({name: caller.describe(each) for name, each in caller.registrations.items()})

    async def describe(self, request: Request) -> Response:
        """One registration's interface."""
        caller = authenticate_caller(request, self._gateway.state())
        return JsonResponse(caller.describe(caller.registration(request.path_params["name"])))

    async def execute(self, request: Request) -> Response:
        """Run a registration, and answer when it is done (`sync`), while it speaks (`stream`) or at once (`async`)."""
        caller, body = await self._called(request)
        registration = caller.registration(request.path_params["name"])
        mode = _mode(body)
        channel = Channel.STREAM if mode == "stream" else _channel(request)
        session_id = session_id_of(body)
        invocation = Invocation(
            caller.routed(registration, session_id), _inputs(body, "inputs"), caller.key_id, channel, session_id
        )
        if mode == "stream":
            return self._gateway.event_stream(invocation, ApiStream(invocation))
        if mode == "async":
            await self._gateway.background.begin(invocation)
            return accepted(invocation)
        result = await unless_gone(self._gateway.engine.run(invocation), request.receive)
        return JsonResponse(result.to_json(), headers=invocation.headers)

    async def execute_as_nexus(self, request: Request) -> Response:
        """Run a registration for `python -m nexus.cli`: ``{"parameters"}`` in, outputs by node out."""
        caller, body = await self._called(request)
        registration = caller.registration(request.path_params["name"])
        _refuse_unknown(body, {"parameters"})
        invocation = Invocation(
            caller.routed(registration), _inputs(body, "parameters"), caller.key_id, Channel.CLI
        )  # fmt: skip
        result = await unless_gone(self._gateway.engine.run(invocation), request.receive)
        # The CLI prints the members of each node's "result"; the whole release is one node to callers.
        body = {**result.to_json(), "outputs": {registration.name: {"result": result.outputs}}}
        return JsonResponse(body, headers=invocation.headers)

    async def _called(self, request: Request) -> tuple[Caller, dict[str, Any]]:
        limit = self._gateway.settings.max_body_bytes
        return await caller_at_end(request, self._gateway.state, lambda: read_json_object(request, limit))


class ApiStream:
    """The events `started`, `token`, then `done` (the body of a sync answer) or `error`."""

    def __init__(self, invocation: Invocation) -> None:
        self._execution_id = invocation.execution_id

    def opening(self) -> bytes:
        """The execution's id."""
        return sse({"execution_id": self._execution_id}, "started")

    def piece(self, text: str) -> bytes:
        """A piece of text."""
        return sse({"text": text}, "token")

    def done(self, result: Result) -> bytes:
        """The whole answer."""
        return sse(result.to_json(), "done")

    def failed(self, error: GatewayError) -> bytes:
        """The error's body."""
        return sse(error.body(), "error")


def session_id_of(body: dict[str, Any]) -> str | None:
    """The request's session id, if it has one.

    Raises:
        GatewayError: it is no short, printable text.
    """
    session_id = body.get("session_id")
    if session_id is None:
        return None
    if (
        not isinstance(session_id, str)
        or not session_id.isprintable()
        or not 0 < len(session_id) <= _SESSION_ID_MAX_LENGTH
    ):
        raise GatewayError(
            ErrorCode.INVALID_INPUT,
            f"session_id must be 1 to {_SESSION_ID_MAX_LENGTH} printable characters",
            path="session_id",
        )
    return session_id


def _mode(body: dict[str, Any]) -> str:
    _refuse_unknown(body, _MEMBERS)
    mode = body.get("mode", "sync")
    if mode not in ("sync", "stream", "async"):
        raise GatewayError(ErrorCode.INVALID_INPUT, "mode must be 'sync', 'stream' or 'async'", path="mode")
    return str(mode)


def _inputs(body: dict[str, Any], member: str) -> dict[str, Any]:
    inputs = body.get(member, {})
    if not isinstance(inputs, dict):
        raise GatewayError(ErrorCode.INVALID_INPUT, f"{member} must be an object", path=member)
    return inputs


def _refuse_unknown(body: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise GatewayError(
            ErrorCode.INVALID_INPUT,
            f"{unknown[0][:80]!r} is no member of this request; known: {', '.join(sorted(known))}",
            path=unknown[0][:80],
        )


def _channel(request: Request) -> Channel:
    """The API, or our own command line, which says so."""
    return Channel.CLI if request.headers.get(CHANNEL_HEADER) == Channel.CLI else Channel.API
