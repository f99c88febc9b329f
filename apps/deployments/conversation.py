"""One exchange with an agent over a gateway's API channel: what the agent says, as it says it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from contract.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# An answer of the longest kind (128,000 tokens) is under a megabyte; a gateway that sends more is broken.
_MOST_BYTES = 4 * 1024 * 1024
_TIME_LIMITS = httpx.Timeout(connect=5.0, read=120.0, write=10.0, pool=5.0)


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of an exchange that succeeded.

    Attributes:
        usage: tokens, as the gateway reported them.
        duration_ms: from sending the message to the end of the answer, as seen from Studio.
    """

    usage: dict[str, Any]
    execution_id: str
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of an exchange that did not succeed; `code` is the gateway's own or `gateway_unreachable`."""

    message: str
    code: str


Happening = Said | Answered | Failed


@dataclass(frozen=True, slots=True)
class Line:
    """Where messages go: one registration on one gateway, with one key and one session.

    Attributes:
        client: leads to the gateway, and nowhere else.
        key: the caller key's text.
    """

    client: httpx.AsyncClient
    registration: str
    key: str = field(repr=False)
    session_id: str

    async def exchange(self, inputs: dict[str, Any]) -> AsyncIterator[Happening]:
        """Send inputs, and yield what happens until an `Answered` or a `Failed` ends it."""
        began = time.monotonic()
        try:
            async for happening in self._attempt(inputs, "stream", began):
                if isinstance(happening, Failed) and happening.code == ErrorCode.MODE_UNSUPPORTED:
                    break
                yield happening
            else:
                return
            async for happening in self._attempt(inputs, "sync", began):
                yield happening
        except httpx.TimeoutException:
            yield Failed("The gateway did not answer in time.", ErrorCode.TIMED_OUT)
        except httpx.HTTPError as error:
            yield Failed(f"The gateway could not be reached ({type(error).__name__}).", "gateway_unreachable")

    async def _attempt(self, inputs: dict[str, Any], mode: str, began: float) -> AsyncIterator[Happening]:
        request = self.client.build_request(
            "POST",
            f"/workflows/{self.registration}/execute",
            json={"inputs": inputs, "session_id": self.session_id, "mode": mode},
            headers={"authorization": f"Bearer {self.key}"},
            timeout=_TIME_LIMITS,
        )
        response = await self.client.send(request, stream=True)
        try:
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                async for happening in _streamed(response, began):
                    yield happening
                return
            body = _json(await _read(response))
            for happening in _whole(response.status_code, body, began):
                yield happening
        finally:
            await response.aclose()


async def _streamed(response: httpx.Response, began: float) -> AsyncIterator[Happening]:
    """The happenings of a stream of server-sent events, in which every event's data is one line of JSON."""
    name, said = "", False
    async for line in _lines(response):
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        if not line.startswith("data:"):
            continue
        data = _json(line.removeprefix("data:").encode())
        if name == "token":
            said = True
            yield Said(str(data.get("text", "")))
        elif name in ("done", "error"):
            for happening in _whole(200 if name == "done" else 500, data, began, said=said):
                yield happening
            return
    yield Failed("The gateway ended the answer before it was complete.", "gateway_unreachable")


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """The lines of a body, which ends where it grows beyond every answer: httpx's own would buffer one without end."""
    received, rest = 0, b""
    async for chunk in response.aiter_bytes():
        received += len(chunk)
        if received > _MOST_BYTES:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")


def _whole(status: int, body: dict[str, Any], began: float, *, said: bool = False) -> list[Happening]:
    """What a complete answer means; its text only if no piece of it came before."""
    if status != httpx.codes.OK:
        error = body.get("error")
        detail = error if isinstance(error, dict) else {}
        where = f" ({detail['path']})" if detail.get("path") else ""
        message = str(detail.get("message") or f"The gateway answered {status}.")
        return [Failed(message + where, str(detail.get("code") or f"http_{status}"))]
    usage = body.get("usage")
    end = Answered(
        usage if isinstance(usage, dict) else {},
        str(body.get("execution_id", "")),
        round((time.monotonic() - began) * 1000, 1),
    )
    return [end] if said else [Said(_text_of(body.get("outputs"))), end]


def _text_of(outputs: Any) -> str:
    """What an answer says: its text, or all of it as JSON if it has none."""
    if isinstance(outputs, dict) and isinstance(outputs.get("text"), str):
        return str(outputs["text"])
    return json.dumps(outputs, ensure_ascii=False, indent=2)


async def _read(response: httpx.Response) -> bytes:
    """The body, as far as it may go; what is longer is cut off and then is no JSON."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MOST_BYTES:
            break
    return body


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
