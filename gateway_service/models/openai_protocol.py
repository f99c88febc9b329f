"""Chat completions over aiohttp, which costs a tenth of httpx's processor time under concurrency."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from contract.canonical import MAX_SAFE_INTEGER
from gateway_service.models.characters import well_formed, whole_characters
from gateway_service.models.failures import ModelFailed
from gateway_service.models.messages import Answer, ChatRequest, Message, ToolCall, ToolDefinition, Usage
from gateway_service.models.tool_calls import ToolCallPieces, whole_tool_calls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from gateway_service.settings import ModelProfile

Emit = Callable[[str], Awaitable[None]]
"""Receives each piece of text as it arrives."""

LINE_MAX_BYTES = 1024 * 1024
_ANSWER_MAX_BYTES = 16 * 1024 * 1024
_TOO_MANY_REQUESTS = 429


async def ask(session: aiohttp.ClientSession, profile: ModelProfile, request: ChatRequest, emit: Emit | None) -> Answer:
    """Ask one model once; with `emit`, hand over the text piece by piece while it arrives.

    Raises:
        ModelFailed: no usable answer.
    """
    import aiohttp

    body = _body(profile, request, stream=emit is not None)
    headers = {"Authorization": f"Bearer {profile.api_key}"} if profile.api_key else {}
    url = f"{profile.base_url}/chat/completions"
    try:
        async with session.post(url, json=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise _refused(response)
            if emit is None:
                return _whole_answer(await _read(response))
            return await _streamed_answer(response, emit)
    except (TimeoutError, aiohttp.ServerTimeoutError):
        raise ModelFailed("the model could not be reached in time", again_after_s=0) from None
    except aiohttp.ClientConnectorError:
        raise ModelFailed("the model could not be reached", again_after_s=0) from None
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ValueError, RecursionError):
        raise ModelFailed("the connection to the model broke, or its answer was malformed") from None


def _refused(response: aiohttp.ClientResponse) -> ModelFailed:
    message = f"the model answered with HTTP status {response.status}"
    if response.status >= 500:
        return ModelFailed(message, again_after_s=0)
    # A date instead of seconds would be allowed, and is used by nobody.
    wait = response.headers.get("Retry-After", "").strip()
    if response.status == _TOO_MANY_REQUESTS and wait.isascii() and wait.isdecimal():
        return ModelFailed(message, again_after_s=min(int(wait[:6]), 3_600))
    return ModelFailed(message)


def _body(profile: ModelProfile, request: ChatRequest, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "messages": [_message(message) for message in request.messages],
        "stream": stream,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if stream:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if not request.may_call:
            body["tool_choice"] = "none"
    if request.answer_schema is not None:
        body |= _response_format(profile.structured_output, request.answer_schema)
    return body


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [_call(call) for call in message.tool_calls]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": tool.arguments}
    return {"type": "function", "function": described}


def _response_format(structured_output: str, schema: dict[str, Any]) -> dict[str, Any]:
    match structured_output:
        case "json_schema":
            named = {"name": "answer", "schema": schema}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case _:
            return {}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        content += chunk
        if len(content) > _ANSWER_MAX_BYTES:
            raise ModelFailed("the model's answer is too large")
    return bytes(content)


def _whole_answer(content: bytes) -> Answer:
    completion = json.loads(content)
    choice = _first_choice(completion)
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text, calls = message.get("content"), whole_tool_calls(message.get("tool_calls"))
    if not isinstance(text, str):
        if not calls:
            raise ModelFailed("the model's answer holds no text")
        text = ""
    return Answer(well_formed(text), _usage(completion), str(choice.get("finish_reason") or "stop"), calls)


async def _streamed_answer(response: aiohttp.ClientResponse, emit: Emit) -> Answer:
    pieces: list[str] = []
    calls = ToolCallPieces()
    usage, finish_reason, finished, half = Usage(), "", False, ""
    async for event in _events(response):
        if event is None:
            finished = True
            break
        if "error" in event:
            raise ModelFailed("the model failed while it was answering")
        usage = _usage(event) if event.get("usage") else usage
        choice = _first_choice(event)
        finish_reason = str(choice.get("finish_reason") or finish_reason)
        calls.add(_delta(choice).get("tool_calls"))
        piece, half = whole_characters(half + _content(choice))
        if piece:
            pieces.append(piece)
            await emit(piece)
    if not finished and not finish_reason:
        raise ModelFailed("the model's answer ended in the middle")
    return Answer("".join(pieces), usage, finish_reason or "stop", calls.whole())


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {}


def _content(choice: dict[str, Any]) -> str:
    content = _delta(choice).get("content")
    return content if isinstance(content, str) else ""


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any] | None]:
    """The events of a server-sent stream; None for its end mark."""
    size = 0
    async for raw in response.content:
        size += len(raw)
        if size > _ANSWER_MAX_BYTES:
            raise ModelFailed("the model's answer is too large")
        line = raw.strip()
        if not line.startswith(b"data:"):
            continue
        content = line[5:].strip()
        if content == b"[DONE]":
            yield None
            return
        event = json.loads(content)
        if isinstance(event, dict):
            yield event


def _first_choice(completion: Any) -> dict[str, Any]:
    choices = completion.get("choices") if isinstance(completion, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else {}
    return choice if isinstance(choice, dict) else {}


def _usage(completion: dict[str, Any]) -> Usage:
    usage = completion.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _count(tokens: Any) -> int:
    return min(tokens, MAX_SAFE_INTEGER) if isinstance(tokens, int) and tokens >= 0 else 0
