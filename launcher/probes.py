"""Is it ready? Each probe asks in the service's own protocol and raises `NotReady` with the reason if not."""

import http.client
import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from launcher.errors import NotReady

Probe = Callable[[], None]

_PROTOCOL_3 = 196608  # PostgreSQL's protocol version 3.0: 3 << 16
_STARTING_UP = b"57P03"  # SQLSTATE cannot_connect_now


def postgresql(url: str) -> Probe:
    """The server takes connections: it answers a start-up message by asking for the password."""
    address = urlsplit(url)

    def probe() -> None:
        fields = {"user": unquote(address.username or "postgres"), "database": address.path.lstrip("/") or "postgres"}
        body = b"".join(f"{key}\0{value}\0".encode() for key, value in fields.items()) + b"\0"
        message = struct.pack("!ii", len(body) + 8, _PROTOCOL_3) + body
        answer = _exchange(address, 5432, message)
        if _STARTING_UP in answer:
            raise NotReady("the database is starting up")
        if not answer.startswith((b"R", b"E")):
            raise NotReady("something answers, but it is not PostgreSQL")

    return probe


def redis(url: str) -> Probe:
    """The server takes our password and answers PING."""
    address = urlsplit(url)

    def probe() -> None:
        credentials = [unquote(part) for part in (address.username, address.password) if part]
        commands = [("AUTH", *credentials)] if credentials else []
        commands.append(("PING",))
        sent = b"".join(_resp(*command) for command in commands)
        answer = _exchange(address, 6379, sent, answers=len(commands))
        if b"PONG" not in answer:
            raise NotReady(answer.decode(errors="replace").strip() or "no answer to PING")

    return probe


def http_ok(url: str, *, host: str | None = None, accept: range = range(200, 400)) -> Probe:
    """`url` answers a GET with a status in `accept`."""

    def probe() -> None:
        status, _ = request(url, host=host)
        if status not in accept:
            raise NotReady(f"{url} answers {status}")

    return probe


def log_says(log: Path, text: str) -> Probe:
    """A program without an address says in its log that it is at work; what an earlier start said does not count."""
    began = log.stat().st_size if log.exists() else 0

    def probe() -> None:
        try:
            with log.open("rb") as file:
                file.seek(began if began <= log.stat().st_size else 0)
                said = text.encode() in file.read()
        except FileNotFoundError:
            said = False
        if not said:
            raise NotReady(f"its log does not say {text!r} yet")

    return probe


def always() -> None:
    """For a program whose readiness shows in what others answer."""


def request(
    url: str,
    *,
    body: Any = None,
    token: str | None = None,
    host: str | None = None,
    timeout: float = 5.0,
) -> tuple[int, bytes]:
    """One HTTP request, without redirects, proxies or pools: status and body.

    Args:
        body: sent as JSON by POST; None sends a GET.
        token: sent as `Authorization: Bearer`.
        timeout: seconds for each read.

    Raises:
        NotReady: no answer, with the reason.
    """
    address = urlsplit(url)
    headers = {"Host": host or address.netloc, "Accept": "*/*"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    payload = None if body is None else json.dumps(body)
    if payload is not None:
        headers["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=timeout)
    path = address.path or "/"
    try:
        connection.request("GET" if payload is None else "POST", path, body=payload, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotReady(f"{address.netloc}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def _resp(*words: str) -> bytes:
    """A command as a RESP array of bulk strings (the Redis protocol)."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


def _exchange(address: SplitResult, default_port: int, message: bytes, *, answers: int = 0) -> bytes:
    """Send a message; return what comes back at once, or as many lines as `answers` says."""
    target = (address.hostname or "127.0.0.1", address.port or default_port)
    try:
        with socket.create_connection(target, timeout=3) as connection:
            connection.sendall(message)
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
                if answer.count(b"\r\n") >= answers:
                    break
            return answer
    except OSError as error:
        raise NotReady(f"{target[0]}:{target[1]}: {error}") from error
