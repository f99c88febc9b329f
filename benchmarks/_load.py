"""A load generator that is not the bottleneck: raw sockets on uvloop, one process, no HTTP library.

Runs in the gateway's environment, as `python -m benchmarks._load` with a `Load` as JSON on standard input, and prints
what it saw. Each connection sends its next request when the answer to the last one is complete and is the expected one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


@dataclass(frozen=True)
class Load:
    """What to send, over how many connections, for how long.

    Attributes:
        request: the bytes of one HTTP/1.1 request that keeps its connection alive.
        expected: what every answer must hold; the measurement fails at the first that does not.
        warm_s: seconds at the beginning that do not count.
    """

    port: int
    request: str
    expected: str
    connections: int
    seconds: float
    warm_s: float = 0.3


@dataclass(frozen=True)
class Seen:
    """What came of a load; latencies in milliseconds.

    Attributes:
        answered: all requests, those that do not count included.
    """

    rps: float
    p50_ms: float
    p99_ms: float
    answered: int

    @classmethod
    def of(cls, latencies_s: list[float], seconds: float, uncounted: int = 0) -> Seen:
        """Sum up."""
        ordered = sorted(latencies_s)
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 for part in (0.5, 0.99))
        return cls(len(ordered) / seconds, p50, p99, len(ordered) + uncounted)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, latencies: list[float], failed: asyncio.Future[Any]) -> None:
        self._request, self._expected = load.request.encode(), load.expected.encode()
        self._latencies, self._failed = latencies, failed
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, received: bytes) -> None:
        self._received += received
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        start = head.index(_LENGTH) + len(_LENGTH)
        length = int(head[start : start + 12].split(b"\r", 1)[0])
        if len(self._received) < head_end + len(_HEAD_END) + length:
            return
        if not head.startswith(b"http/1.1 200 ") or self._expected not in self._received:
            self._fail(RuntimeError(f"not what was expected: {self._received.decode()}"))
            return
        self._latencies.append(time.perf_counter() - self._sent)
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or RuntimeError("the other side closed the connection"))

    def _send(self) -> None:
        self._received = b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, error: Exception) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)


async def apply(load: Load) -> Seen:
    """Send the load.

    Raises:
        RuntimeError: an answer was wrong, or a connection broke.
    """
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    failed: asyncio.Future[Any] = loop.create_future()
    for _ in range(load.connections):
        await loop.create_connection(lambda: _Connection(load, latencies, failed), "127.0.0.1", load.port)
    await _unless_failed(failed, load.warm_s)
    uncounted = len(latencies)
    latencies.clear()
    began = time.perf_counter()
    await _unless_failed(failed, load.seconds)
    return Seen.of(latencies, time.perf_counter() - began, uncounted)


async def _unless_failed(failed: asyncio.Future[Any], seconds: float) -> None:
    done, _ = await asyncio.wait({failed}, timeout=seconds)
    if done:
        failed.result()


if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(apply(Load(**json.load(sys.stdin)))))))
