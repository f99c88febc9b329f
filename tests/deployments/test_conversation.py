"""How a conversation gets along with gateways that are older, broken or hostile."""

from __future__ import annotations

import json
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from apps.core.outgoing import guarded_async_client
from apps.deployments.conversation import Answered, Failed, Happening, Line, Said
from apps.deployments.playground import inputs_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SSE = "text/event-stream; charset=utf-8"
DONE = {"outputs": {"text": "Hi there"}, "execution_id": "exe_1", "usage": {"input_tokens": 1, "output_tokens": 2}}


class OtherGateway(ThreadingHTTPServer):
    """Something that is not our gateway, at a gateway's address.

    Attributes:
        answer: what it does with a request's body: (status, content type, content).
        asked: the bodies it received.
    """

    daemon_threads = True
    answer: Callable[[dict[str, Any]], tuple[int, str, bytes]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Endpoint)
        self.asked: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Endpoint(BaseHTTPRequestHandler):
    server: OtherGateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        status, kind, content = self.server.answer(body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def other() -> Iterator[OtherGateway]:
    server = OtherGateway()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@asynccontextmanager
async def line_to(address: str) -> AsyncIterator[Line]:
    client = guarded_async_client(base_url=address, timeout=httpx.Timeout(5), limits=httpx.Limits(max_connections=1))
    yield Line(client, "greeter-staging", "kzk_abcdefgh_secret", "session")
    await client.aclose()


async def exchange(other: OtherGateway) -> list[Happening]:
    async with line_to(other.address) as line:
        return [happening async for happening in line.exchange({"message": "Hello"})]


async def test_a_gateway_without_streaming_is_asked_for_the_whole_answer(other: OtherGateway) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, str, bytes]:
        if body["mode"] == "stream":
            error = {"error": {"code": "mode_unsupported", "message": "no streaming here"}}
            return 422, "application/json", json.dumps(error).encode()
        return 200, "application/json", json.dumps(DONE).encode()

    other.answer = answer
    said, answered = await exchange(other)
    assert said == Said("Hi there")
    assert isinstance(answered, Answered)
    assert (answered.execution_id, answered.usage["output_tokens"]) == ("exe_1", 2)
    assert [body["mode"] for body in other.asked] == ["stream", "sync"]
    assert other.asked[1]["session_id"] == "session"


async def test_an_answer_without_pieces_is_said_at_its_end(other: OtherGateway) -> None:
    stream = f"event: started\ndata: {{}}\n\n: keep-alive\n\nevent: done\ndata: {json.dumps(DONE)}\n\n"
    other.answer = lambda _: (200, SSE, stream.encode())
    said, answered = await exchange(other)
    assert said == Said("Hi there")
    assert isinstance(answered, Answered)


async def test_structured_outputs_are_shown_as_json(other: OtherGateway) -> None:
    other.answer = lambda _: (200, "application/json", json.dumps({**DONE, "outputs": {"score": 3}}).encode())
    said, _ = await exchange(other)
    assert isinstance(said, Said)
    assert json.loads(said.text) == {"score": 3}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, SSE, b'event: token\ndata: {"text": "Good"}\n\n'), "gateway_unreachable"),
        ((200, SSE, b"data: " + b"x" * 5_000_000), "gateway_unreachable"),
        ((200, SSE, b'event: error\ndata: {"error": {"code": "model_failed", "message": "no"}}\n\n'), "model_failed"),
        ((404, "application/json", b'{"error": {"code": "not_found", "message": "there is none"}}'), "not_found"),
        ((500, "text/html", b"<h1>Proxy error</h1>"), "http_500"),
        ((302, "text/html", b""), "http_302"),
        ((403, "application/json", b'["no"]'), "http_403"),
    ],
)
async def test_whatever_goes_wrong_is_said(other: OtherGateway, answer: tuple[int, str, bytes], code: str) -> None:
    other.answer = lambda _: answer
    *_, last = await exchange(other)
    assert isinstance(last, Failed)
    assert last.code == code
    assert "<h1>" not in last.message


async def test_a_forbidden_address_is_not_connected_to(settings: Any, other: OtherGateway) -> None:
    settings.KAIZEN_ALLOWED_GATEWAY_NETWORKS = []
    (failed,) = await exchange(other)
    assert isinstance(failed, Failed)
    assert failed.code == "gateway_unreachable"
    assert other.asked == []


def test_the_key_stands_in_no_repr() -> None:
    line = Line(httpx.AsyncClient(), "greeter-staging", "kzk_abcdefgh_secret", "session")
    assert "secret" not in repr(line)


@pytest.mark.parametrize(
    ("text", "schema", "inputs"),
    [
        ('{"a": 1}', {"properties": {"message": {}}}, {"message": '{"a": 1}'}),
        ('{"a": 1}', {"properties": {"message": {}, "a": {}}}, {"a": 1}),
        ("Hello", {"properties": {"message": {}, "a": {}}}, {"message": "Hello"}),
        ("[1]", {"properties": {"a": {}}}, {"message": "[1]"}),
    ],
)
def test_a_message_is_json_only_where_an_agent_takes_more(text: str, schema: dict[str, Any], inputs: object) -> None:
    assert inputs_of(text, schema) == inputs
