"""A chat completion as OpenAI's clients read it: whole, or in chunks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gateway_service.channels.event_stream import sse
from gateway_service.http import JsonResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway_service.errors import GatewayError
    from gateway_service.execution.engine import Invocation, Result
    from gateway_service.models.messages import ToolCall, Usage

_OWNER = "kaizen"
_FINISH_REASONS = ("stop", "length", "content_filter")
"""Those that clients know. Whatever else a model says of its end is an end."""


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
        late += b"".join(self._chunk({"tool_calls": [delta]}) for delta in _call_deltas(result))
        usage = self._usage_chunk(result.usage) if self._with_usage else b""
        return late + self._chunk({}, finish_reason=_finish_reason(result)) + usage + b"data: [DONE]\n\n"

    def failed(self, error: GatewayError) -> bytes:
        """The error, which OpenAI's clients raise."""
        return sse(error.body())

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
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


def model_object(name: str) -> dict[str, Any]:
    """A registration as a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": _OWNER}


def completion(result: Result) -> dict[str, Any]:
    """A whole chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": _content(result), "refusal": None}
    if result.client_calls:
        message |= {"content": message["content"] or None, "tool_calls": [_call(call) for call in result.client_calls]}
    return {
        "id": result.execution_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": result.registration,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(result)}],
        "usage": _usage(result.usage),
    }


def _finish_reason(result: Result) -> str:
    if result.client_calls:
        return "tool_calls"
    return result.finish_reason if result.finish_reason in _FINISH_REASONS else "stop"


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_deltas(result: Result) -> Iterator[dict[str, Any]]:
    """The calls as a stream has them: first each one's id and name, then its arguments."""
    for index, call in enumerate(result.client_calls):
        named = _call(call)
        yield {"index": index, **named, "function": {"name": call.name, "arguments": ""}}
        yield {"index": index, "function": {"arguments": call.arguments}}


def _content(result: Result) -> str:
    first = next(iter(result.outputs.values()))
    return first if isinstance(first, str) else JsonResponse(first).body.decode()  # type: ignore[union-attr]


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
