"""The ASGI application of a gateway."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from gateway_service.admin.api import AdminApi
from gateway_service.channels.api import ApiChannel
from gateway_service.channels.mcp import PATH as MCP_PATH
from gateway_service.channels.mcp import McpChannel
from gateway_service.channels.openai import OpenAiChannel
from gateway_service.http import JsonResponse, error_response, from_exception
from gateway_service.openapi import caller_document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway_service.gateway import Gateway


def create_app(gateway: Gateway) -> Starlette:
    """The application that serves a gateway; its lifespan starts and stops it."""
    mcp = McpChannel(gateway)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            await mcp.close()
            await gateway.stop()

    return Starlette(
        routes=[
            Route("/openapi.json", gateway.guard(_document), methods=["GET"]),
            Route(MCP_PATH, mcp, methods=["POST"]),
            *AdminApi(gateway).routes(),
            *ApiChannel(gateway).routes(),
            *OpenAiChannel(gateway).routes(),
        ],
        exception_handlers={HTTPException: _unrouted},
        lifespan=lifespan,
    )


async def _document(_: Request) -> Response:
    """The callers' side as OpenAPI. Open: it says nothing about this gateway."""
    return JsonResponse(caller_document())


async def _unrouted(_: Request, error: Exception) -> Response:
    return error_response(from_exception(error))
