"""Chat completions over aiohttp, which costs a tenth of httpx's processor time under concurrency.

A failing model is never quoted: provider errors may repeat the prompt. What the caller learns is that the model failed
and with which HTTP status; the provider's own words stay out of answers and logs.

aiohttp would be half of what a start imports, so it is imported here where it is used: the thread that loads Nexus,
without which no node runs, has brought it in before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from contract.canonical import MAX_SAFE_INTEGER
from contract.errors import ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.models.messages import Answer, ChatRequest, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp

    from gateway_service.settings import ModelProfile

Emit = Callable[[str], Awaitable[None]]
"""Receives each piece of text as it arrives."""

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_MAX_BYTES = 16 * 1024 * 1024
_LINE_MAX_BYTES = 1024 * 1024
_SURROGATES = re.compile("[\ud800-\udfff]")


class ModelFailed(GatewayError):
    """The model could not be reached, refused, or answered nonsense."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.MODEL_FAILED, message)


class ModelClient:
    """Asks the models of the gateway's profiles. Lives on one event loop."""

    def __init__(self, profiles: Mapping[str, ModelProfile]) -> None:
        self._profiles = profiles
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close idle connections."""
        if self._session is not None:
            await self._session.close()

    async def chat(self, request: ChatRequest, emit: Emit | None = None) -> Answer:
        """Ask once; with `emit`, hand over the text piece by piece while it arrives.

        Raises:
            ModelFailed: no usable answer.
        """
        import aiohttp

        profile = self._profiles.get(request.profile)
        if profile is None:
            raise ModelFailed(f"this gateway has no model profile {request.profile!r}")
        if self._session is None:
            self._session = self._open_session()
        body = _body(profile, request, stream=emit is not None)
        headers = {"Authorization": f"Bearer {profile.api_key}"} if profile.api_key else {}
        url = f"{profile.base_url}/chat/completions"
        try:
            async with self._session.post(url, json=body, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    raise ModelFailed(f"the model answered with HTTP status {response.status}")
                if emit is None:
                    return _whole_answer(await _read(response))
                return await _streamed_answer(response, emit)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise ModelFailed("the model could not be reached in time") from None
        except aiohttp.ClientConnectorError:
            raise ModelFailed("the model could not be reached") from None
        except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ValueError, RecursionError):
            raise ModelFailed("the connection to the model broke, or its answer was malformed") from None

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp

        # No total time-out here: the execution's own ends the call. No cookies: nothing of one call reaches another.
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_LINE_MAX_BYTES,
        )


def _body(profile: ModelProfile, request: ChatRequest, *, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": profile.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": stream,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if stream:
        body["stream_options"] = {"include_usage": True}
    if request.answer_schema is not None:
        body |= _response_format(profile.structured_output, request.answer_schema)
    return body


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
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise ModelFailed("the model's answer holds no text")
    return Answer(_well_formed(text), _usage(completion), str(choice.get("finish_reason") or "stop"))


async def _streamed_answer(response: aiohttp.ClientResponse, emit: Emit) -> Answer:
    pieces: list[str] = []
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
        piece, half = _whole_characters(half + _content(choice))
        if piece:
            pieces.append(piece)
            await emit(piece)
    if not finished and not finish_reason:
        raise ModelFailed("the model's answer ended in the middle")
    return Answer("".join(pieces), usage, finish_reason or "stop")


def _content(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, dict) else None
    return content if isinstance(content, str) else ""


def _whole_characters(text: str) -> tuple[str, str]:
    """The text, and apart from it the first half of a character whose second half comes with the next event."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return _well_formed(text[:-1]), text[-1]
    return _well_formed(text), ""


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


def _well_formed(text: str) -> str:
    """Text that can be encoded: surrogate pairs are joined, and lone ones replaced."""
    if not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
