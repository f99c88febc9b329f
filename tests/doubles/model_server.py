"""A language model's endpoint that speaks the OpenAI protocol over a real socket, and says what a test tells it to.

It stands for the paid provider, which tests cannot run. Nothing of the product is replaced.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]


@dataclass
class Reply:
    """What the model does with one request.

    Attributes:
        pieces: the text, in the pieces that a stream sends.
        status: an HTTP status other than 200 answers with an error that repeats the prompt, as providers do.
        delay_s: how long it thinks.
        gate: waits for this event after the first piece (or before the answer, without streaming).
        cut: breaks the connection after this many pieces.
        raw: answered as the body, whatever it is.
        headers: further headers of an answer that is no stream.
        calls: tools it wants to use, by name, with their arguments (JSON, or text that is none).
        ends: why it ends, where it calls no tools.
    """

    pieces: list[str] = field(default_factory=list)
    status: int = 200
    delay_s: float = 0.0
    gate: threading.Event | None = None
    cut: int | None = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    ends: str = "stop"

    @property
    def finish_reason(self) -> str:
        """Why it ends."""
        return "tool_calls" if self.calls else self.ends

    def tool_calls(self) -> list[Json]:
        """The calls, whole."""
        texts = [each if isinstance(each, str) else json.dumps(each) for _, each in self.calls]
        return [
            {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": text}}
            for index, ((name, _), text) in enumerate(zip(self.calls, texts, strict=True))
        ]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def echo(body: Json) -> Reply:
    """The default: repeat the last message, word by word."""
    words = str(body["messages"][-1]["content"]).split(" ")
    return Reply([f"{word} " for word in ["You", "said:", *words[:-1]]] + [words[-1]])


class ModelServer:
    """The endpoint, in threads of the test's process.

    Attributes:
        requests: the bodies it received, oldest first.
        authorizations: the Authorization headers it received.
        cookies: the Cookie headers it received.
        abandoned: set when a client left before the answer was complete.
        reply: decides about each request; assign another function at any time.
    """

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Json] = []
        self.authorizations: list[str | None] = []
        self.cookies: list[str | None] = []
        self.abandoned = threading.Event()
        self.reply: Callable[[Json], Reply] = echo
        self._server = _Server(port, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        """The base address of the API."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def forget(self) -> None:
        """Begin a new test."""
        self.requests.clear()
        self.authorizations.clear()
        self.cookies.clear()
        self.abandoned.clear()
        self.reply = echo

    def says(self, *pieces: str, **behaviour: Any) -> None:
        """Answer everything with this text."""
        self.reply = lambda _: Reply(list(pieces), **behaviour)

    def follows(self, *replies: Reply) -> None:
        """Answer with these, one after another, and with the last one from then on."""
        left = list(replies)
        self.reply = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, model: ModelServer) -> None:
        super().__init__(("127.0.0.1", port), _Endpoint)
        self.model = model

    def handle_error(self, *where: Any) -> None:
        """A client that leaves between two requests is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: _Server

    def do_POST(self) -> None:
        model = self.server.model
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model.requests.append(body)
        model.authorizations.append(self.headers.get("Authorization"))
        model.cookies.append(self.headers.get("Cookie"))
        reply = model.reply(body)
        try:
            self._answer(body, reply)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            model.abandoned.set()

    def log_message(self, *_: Any) -> None:
        """Say nothing: pytest's output belongs to the tests."""

    def _answer(self, body: Json, reply: Reply) -> None:
        time.sleep(reply.delay_s)
        if reply.raw is not None or reply.status != 200:
            error = {"error": {"message": f"refused: {body['messages']}", "type": "server_error"}}
            content = json.dumps(error).encode() if reply.raw is None else reply.raw
            self._send(reply.status, content, reply.headers)
        elif body.get("stream"):
            self._stream(body, reply)
        else:
            self._wait(reply)
            self._send(200, json.dumps(_completion(body, reply)).encode())

    def _wait(self, reply: Reply) -> None:
        """Wait for the gate, and notice meanwhile when the client leaves."""
        self.connection.settimeout(0.02)
        while reply.gate is not None and not reply.gate.is_set():
            try:
                if self.connection.recv(1) == b"":
                    raise ConnectionResetError
            except TimeoutError:
                continue
        self.connection.settimeout(None)

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, body: Json, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for index, piece in enumerate(reply.pieces):
            if index == reply.cut:
                return
            self._event(_chunk(body, {"content": piece}))
            if index == 0:
                self._wait(reply)
        for delta in _call_deltas(reply):
            self._event(_chunk(body, {"tool_calls": [delta]}))
        self._event(_chunk(body, {}, reply.finish_reason))
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({**_chunk(body, {}), "choices": [], "usage": _usage(body, reply)})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, content: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(content).encode() + b"\n\n")
        self.wfile.flush()


def _completion(body: Json, reply: Reply) -> Json:
    message: Json = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message |= {"content": reply.text or None, "tool_calls": reply.tool_calls()}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
        "usage": _usage(body, reply),
    }


def _chunk(body: Json, delta: Json, finish_reason: str | None = None) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"], "choices": [choice]}


def _call_deltas(reply: Reply) -> list[Json]:
    """The calls in pieces, as a stream sends them: first id and name, then the arguments in two halves, interleaved."""
    whole = reply.tool_calls()
    texts = [call["function"]["arguments"] for call in whole]
    heads = [
        {**call, "index": index, "function": {**call["function"], "arguments": ""}} for index, call in enumerate(whole)
    ]
    halves = [
        {"index": index, "function": {"arguments": half}}
        for part in (0, 1)
        for index, text in enumerate(texts)
        for half in [text[: len(text) // 2] if part == 0 else text[len(text) // 2 :]]
    ]
    return heads + halves


def _usage(body: Json, reply: Reply) -> Json:
    """Words, counted as tokens."""
    asked = sum(len(str(message["content"]).split()) for message in body["messages"])
    said = len(reply.text.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
