"""A server that agents' tools reach: it says what it was asked, redirects, hangs, floods and drips, as its path tells.

It stands for the systems of a company, which tests do not have, and for those of an attacker.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

_FLOOD_CHUNK = b"x" * 65_536


@dataclass(frozen=True)
class Asked:
    """One request, as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class ToolServer:
    """The server, in threads of the test's process.

    Attributes:
        asked: what arrived, oldest first.
        abandoned: set when a client left before the answer was complete.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.abandoned = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Endpoint)
        self._server.tools = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tools: ToolServer

    def handle_error(self, *where: Any) -> None:
        """A client that leaves is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*where)


class _Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: _Server

    def handle_any(self) -> None:
        """Answer as the path says."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tools.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
        parts = urlsplit(self.path)
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        behaviour = getattr(self, f"_{parts.path.strip('/')}", None)
        try:
            if behaviour is None:
                self._echo(body)
            else:
                behaviour(options)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            self.server.tools.abandoned.set()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 (the base class's names)

    def log_message(self, *_: Any) -> None:
        """Say nothing: pytest's output belongs to the tests."""

    def _echo(self, body: bytes) -> None:
        said = {"method": self.command, "target": self.path, "body": body.decode()}
        self._send(200, json.dumps(said).encode())

    def _redirect(self, options: dict[str, str]) -> None:
        self.send_response(int(options.get("status", "302")))
        self.send_header("Location", options["to"])
        self.send_header("Set-Cookie", "taste=sweet; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _missing(self, _: dict[str, str]) -> None:
        self._send(404, b"there is no such order")

    def _binary(self, _: dict[str, str]) -> None:
        self._send(200, bytes(range(256)), "image/png")

    def _flood(self, _: dict[str, str]) -> None:
        self._begin()
        while True:
            self.wfile.write(_FLOOD_CHUNK)

    def _drip(self, _: dict[str, str]) -> None:
        self._begin()
        while True:
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _hang(self, _: dict[str, str]) -> None:
        if self.rfile.read(1) == b"":
            raise ConnectionResetError

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _send(self, status: int, content: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
