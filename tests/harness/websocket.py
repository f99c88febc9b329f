"""A WebSocket client of few words (RFC 6455), for talking to a real web process without a browser."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class WebSocket:
    """One connection; `closed` is the code with which the server ended it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self.closed: int | None = None

    def open(self, path: str, headers: Mapping[str, str]) -> int:
        """Ask for the upgrade; returns the HTTP status, 101 when the socket stands."""
        lines = [f"GET {path} HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._connection.sendall("\r\n".join([*lines, "", ""]).encode())
        status = int(self._file.readline().split()[1])
        while self._file.readline() not in (b"\r\n", b""):
            pass
        return status

    def send(self, payload: bytes, *, opcode: int = 1) -> None:
        """Send one masked frame."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 127]) + struct.pack(">Q", length)
        mask = b"\0\0\0\0"
        self._connection.sendall(bytes([0x80 | opcode]) + size + mask + payload)

    def receive(self) -> Any:
        """The next JSON message; None once the server has closed."""
        while True:
            head = self._file.read(2)
            if len(head) < 2:
                return None
            length = head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._file.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._file.read(8))
            payload = self._file.read(length)
            if head[0] & 0x0F == 8:
                self.closed = struct.unpack(">H", payload[:2])[0] if payload else 1005
                return None
            if head[0] & 0x0F == 1:
                return json.loads(payload)


@contextmanager
def web_socket(port: int, *, timeout: float = 20.0) -> Iterator[WebSocket]:
    """A connection to a port of this machine, not yet upgraded."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        yield WebSocket(connection)
