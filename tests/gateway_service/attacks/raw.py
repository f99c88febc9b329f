"""Bytes as an attacker sends them: no client library in between that would put them right."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contract.caller_keys import KeyText
    from tests.harness.gateway import GatewayProcess


@dataclass(frozen=True)
class RawAnswer:
    """One answer, and what came after it on the same connection."""

    status: int
    body: bytes
    rest: bytes

    @property
    def code(self) -> str:
        """The error's code."""
        return str(json.loads(self.body)["error"]["code"])


def connect(gateway: GatewayProcess, *, timeout: float = 30) -> socket.socket:
    """A connection on which nothing was sent yet."""
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout)


def exchange(gateway: GatewayProcess, *pieces: bytes) -> list[RawAnswer]:
    """Send the pieces, and read until the gateway closes the connection; every answer that came."""
    with connect(gateway) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return answers(until_closed(connection))


def until_closed(connection: socket.socket) -> bytes:
    """Everything the gateway still says. It must close the connection before the socket's own time-out."""
    received = bytearray()
    # A reset is a way of closing, too: it happens where the gateway does not read what is still under way.
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return bytes(received)


def answers(received: bytes) -> list[RawAnswer]:
    """The answers in a sequence of bytes."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        length = int(headers.get(b"content-length", b"0"))
        found.append(RawAnswer(int(lines[0].split()[1]), rest[:length], rest[length:]))
        received = rest[length:]
    return found


def request(
    path: str, *headers: str, method: str = "POST", body: bytes = b"", key: KeyText | None = None, close: bool = True
) -> bytes:
    """A request with exactly these headers, besides Host, the key and Connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {key.text}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def call_body(message: str = "Hi", **members: Any) -> bytes:
    """The body of an execution."""
    return json.dumps({"inputs": {"message": message}, **members}).encode()
