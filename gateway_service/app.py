"""The ASGI applications of a gateway: what callers reach, and what Studio reaches."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match, Route

from gateway_service.admin.api import AdminApi
from gateway_service.channels.api import ApiChannel
from gateway_service.channels.executions import ExecutionsChannel
from gateway_service.channels.mcp import METHODS as MCP_METHODS
from gateway_service.channels.mcp import PATH as MCP_PATH
from gateway_service.channels.mcp import McpChannel
from gateway_service.channels.openai import OpenAiChannel
from gateway_service.channels.sessions import SessionsChannel
from gateway_service.http import JsonResponse, error_response, from_exception
from gateway_service.openapi import caller_document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway_service.gateway import Endpoint, Gateway

_EXECUTE_START, _EXECUTE_END = "/workflows/", "/execute"


class Surfaces:
    """What a gateway offers, and to whom.

    Attributes:
        callers: the channels; with the admin API, where that has no address of its own.
        admin: the admin API, where it has one. Whoever reaches the callers' address then finds nothing of it there.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._mcp = McpChannel(gateway)
        admin, api = AdminApi(gateway), ApiChannel(gateway)
        channels = [
            Route("/openapi.json", gateway.guard(_document), methods=["GET"]),
            Route(MCP_PATH, self._mcp, methods=MCP_METHODS),
            *api.routes(),
            *ExecutionsChannel(gateway).routes(),
            *SessionsChannel(gateway).routes(),
            *OpenAiChannel(gateway).routes(),
            *admin.probes(),
        ]
        apart = gateway.settings.admin is not None
        callers = _application(channels if apart else [*channels, *admin.routes()])
        self.callers: ASGIApp = _ShortCut(gateway.guard(api.execute), callers)
        self.admin: ASGIApp | None = _application([*admin.routes(), *admin.probes()]) if apart else None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The gateway, from its start to its end, on the loop that serves it."""
        await self._gateway.start()
        try:
            yield
        finally:
            await self._mcp.close()
            await self._gateway.stop()


def _application(routes: list[Route]) -> Starlette:
    return Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})


class _ShortCut:
    """Leads calls of registrations past the router and its middlewares, which cost more than such a call itself.

    A guarded endpoint answers every error, so it needs none of them. Everything else takes the long way, and so would
    these calls if they were not recognized here.
    """

    def __init__(self, execute: Endpoint, application: ASGIApp) -> None:
        self._execute = execute
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _executed(scope)
        if name is None:
            await self._application(scope, receive, send)
            return
        scope["path_params"] = {"name": name}
        response = await self._execute(Request(scope, receive, send))
        await response(scope, receive, send)


def _executed(scope: Scope) -> str | None:
    """The name of the registration that a request would execute over the API."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    path: str = scope["path"]
    if not (path.startswith(_EXECUTE_START) and path.endswith(_EXECUTE_END)):
        return None
    name = path[len(_EXECUTE_START) : -len(_EXECUTE_END)]
    return name if name and "/" not in name else None


async def _document(_: Request) -> Response:
    """The callers' side as OpenAPI. Open: it says nothing about this gateway."""
    return JsonResponse(caller_document())


async def _unrouted(request: Request, error: Exception) -> Response:
    response = error_response(from_exception(error))
    if response.status_code == 405:
        # RFC 9110, 15.5.6. Starlette would name the methods of one route, and several can share a path.
        response.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return response


def _methods(request: Request) -> set[str]:
    fitting = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in fitting for method in route.methods}
