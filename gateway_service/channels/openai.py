"""The OpenAI-compatible channel: a registration's name is the `model`, so that any existing client works.

The release decides about the model behind it, temperature, tokens and instructions; what a client says of these is
ignored, as documented. System and developer messages of a client reach the agent as words of the caller, never with
the authority of instructions. What would change the meaning of the answer and is not offered is refused.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from contract.admin_api import Channel
from contract.errors import ErrorCode
from gateway_service.auth import authenticate_caller, caller_at_end
from gateway_service.channels.event_stream import sse
from gateway_service.errors import GatewayError
from gateway_service.execution.engine import Invocation
from gateway_service.http import JsonResponse, read_json_object, unless_gone
from gateway_service.models.messages import Message, Usage
from gateway_service.nodes.agent import MESSAGE_INPUT

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway_service.execution.engine import Result
    from gateway_service.gateway import Gateway
    from gateway_service.registrations import Registration

_ROLES = {"system": "user", "developer": "user", "user": "user", "assistant": "assistant"}
_OWNER = "kaizen"
_NOT_OFFERED = ("tools", "functions", "audio", "logprobs", "web_search_options")


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
        return JsonResponse({"object": "list", "data": [_model(name) for name in caller.registrations]})

    async def describe_model(self, request: Request) -> Response:
        """One registration."""
        caller = authenticate_caller(request, self._gateway.state())
        return JsonResponse(_model(caller.registration(request.path_params["name"]).name))

    async def complete(self, request: Request) -> Response:
        """Answer a chat, whole or as a stream."""
        limit = self._gateway.settings.max_body_bytes
        caller, body = await caller_at_end(request, self._gateway.state, lambda: read_json_object(request, limit))
        model = body.get("model")
        if not isinstance(model, str):
            raise _invalid("model", "must name a registration")
        registration = caller.routed(caller.registration(model), _user(body))
        _refuse_not_offered(body)
        messages = _messages(body.get("messages"))
        invocation = Invocation(
            registration=registration,
            inputs=_inputs(registration, body, messages[-1]),
            key_id=caller.key_id,
            channel=Channel.OPENAI,
            history=tuple(messages[:-1]),
        )
        if body.get("stream"):
            return self._gateway.event_stream(invocation, ChunkStream(invocation, with_usage=_wants_usage(body)))
        result = await unless_gone(self._gateway.engine.run(invocation), request.receive)
        return JsonResponse(_completion(result))


class ChunkStream:
    """A chat completion as chunks, ended by ``[DONE]``."""

    def __init__(self, invocation: Invocation, *, with_usage: bool) -> None:
        self._invocation = invocation
        self._with_usage = with_usage
        self._created = int(time.time())
        self._spoke = False

    def opening(self) -> bytes:
        """The assistant begins."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        """A piece of text."""
        self._spoke = True
        return self._chunk({"content": text})

    def done(self, result: Result) -> bytes:
        """The end; with the whole text, if the registration does not stream it."""
        late = b"" if self._spoke else self._chunk({"content": _content(result)})
        usage = self._usage_chunk(result.usage) if self._with_usage else b""
        return late + self._chunk({}, finish_reason="stop") + usage + b"data: [DONE]\n\n"

    def failed(self, error: GatewayError) -> bytes:
        """The error, which OpenAI's clients raise."""
        return sse(error.body())

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse({**self._head(), "choices": [choice]})

    def _usage_chunk(self, usage: Usage) -> bytes:
        return sse({**self._head(), "choices": [], "usage": _usage(usage)})

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._invocation.execution_id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._invocation.registration.name,
        }


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}


def _user(body: dict[str, Any]) -> str | None:
    """Whom the client speaks for: OpenAI's `user`, or its successor `safety_identifier`. It makes calls sticky."""
    for member in ("user", "safety_identifier"):
        user = body.get(member)
        if user is not None and not isinstance(user, str):
            raise _invalid(member, "must be text")
        if user:
            return user
    return None


def _refuse_not_offered(body: dict[str, Any]) -> None:
    for member in _NOT_OFFERED:
        if body.get(member):
            raise _invalid(member, "is not offered by this gateway")
    if body.get("n") not in (None, 1):
        raise _invalid("n", "must be 1")
    wanted = body.get("response_format")
    if wanted is not None and not (isinstance(wanted, dict) and wanted.get("type") == "text"):
        raise _invalid("response_format", "is decided by the release; only 'text' can be asked for")


def _messages(messages: Any) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "must be a list of at least one message")
    read = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    if messages[-1].get("role") != "user":
        raise _invalid(f"messages[{len(messages) - 1}].role", "must be 'user': the last message is the question")
    return read


def _message(message: Any, path: str) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise _invalid(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
    return Message(_ROLES[role], _text(message.get("content"), f"{path}.content"))


def _text(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        return "".join(_part(part, f"{path}[{index}]") for index, part in enumerate(content))
    raise _invalid(path, "must be text")


def _part(part: Any, path: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise _invalid(path, "must be a part of type 'text'")
    return text


def _inputs(registration: Registration, body: dict[str, Any], question: Message) -> dict[str, Any]:
    """The last message as the input `message`; further inputs come in the extra member `inputs`."""
    extra = body.get("inputs", {})
    if not isinstance(extra, dict):
        raise _invalid("inputs", "must be an object")
    if MESSAGE_INPUT not in registration.input_schema.get("properties", {}):
        raise _invalid("model", "takes no message; call it through /workflows/{name}/execute")
    return {**extra, MESSAGE_INPUT: question.content}


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _completion(result: Result) -> dict[str, Any]:
    message = {"role": "assistant", "content": _content(result), "refusal": None}
    return {
        "id": result.execution_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": result.registration,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(result.usage),
    }


def _content(result: Result) -> str:
    first = next(iter(result.outputs.values()))
    return first if isinstance(first, str) else JsonResponse(first).body.decode()  # type: ignore[union-attr]


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _invalid(path: str, reason: str) -> GatewayError:
    return GatewayError(ErrorCode.INVALID_INPUT, f"{path} {reason}", path=path)
