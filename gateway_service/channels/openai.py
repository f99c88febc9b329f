"""The OpenAI-compatible channel: a registration's name is the `model`, so that any existing client works.

System and developer messages of a client reach the agent as words of the caller, never with the authority of
instructions. `openai_request` says what else of a request counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from contract.admin_api import Channel
from gateway_service.auth import authenticate_caller, caller_at_end
from gateway_service.channels.openai_answer import ChunkStream, completion, model_object
from gateway_service.channels.openai_request import ChatRequestBody
from gateway_service.execution.engine import Invocation
from gateway_service.http import JsonResponse, read_json_object, unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway_service.gateway import Gateway


class OpenAiChannel:
    """The routes under ``/v1``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """What to mount."""
        guard = self._gateway.guard
        return [
            Route("/v1/models", guard(self.list_models), methods=["GET"]),
            Route("/v1/models/{name}", guard(self.describe_model), methods=["GET"]),
            Route("/v1/chat/completions", guard(self.complete), methods=["POST"]),
        ]

    async def list_models(self, request: Request) -> Response:
        """The registrations in the key's scope."""
        caller = authenticate_caller(request, self._gateway.state())
        return JsonResponse({"object": "list", "data": [model_object(name) for name in caller.registrations]})

    async def describe_model(self, request: Request) -> Response:
        """One registration."""
        caller = authenticate_caller(request, self._gateway.state())
        return JsonResponse(model_object(caller.registration(request.path_params["name"]).name))

    async def complete(self, request: Request) -> Response:
        """Answer a chat, whole or as a stream."""
        limit = self._gateway.settings.max_body_bytes
        caller, body = await caller_at_end(request, self._gateway.state, lambda: read_json_object(request, limit))
        asked = ChatRequestBody.read(body)
        registration = caller.routed(caller.registration(asked.model), asked.user)
        asked.check_tools(registration)
        asked.check_form(registration)
        invocation = Invocation(
            registration=registration,
            inputs=asked.inputs_for(registration),
            key_id=caller.key_id,
            channel=Channel.OPENAI,
            history=asked.messages.history,
            turn=asked.turn,
            max_tokens=asked.max_tokens,
        )
        if asked.stream:
            return self._gateway.event_stream(invocation, ChunkStream(invocation, with_usage=asked.stream_usage))
        result = await unless_gone(self._gateway.engine.run(invocation), request.receive)
        return JsonResponse(completion(result), headers=invocation.headers)
