"""A faulty network between Studio and one gateway: a small HTTP proxy that loses, delays and refuses by a seed.

Studio pushes and polls through it; whoever checks the gateway goes past it. It understands as much of HTTP/1.1 as both
sides speak here: messages with a `Content-Length`, connections kept alive.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

_LIMIT = 4 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time-out of 0: close() sends RST (socket(7))
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nout to lunch"


class Fault(StrEnum):
    """What can happen to one request.

    Attributes:
        UNAVAILABLE: somebody on the way answers 503; the gateway hears nothing.
        RESET_BEFORE: the connection breaks before the gateway heard anything.
        RESET_AFTER: the gateway does what it was asked, and its answer gets lost.
        HANG: nothing happens for seconds, then the connection breaks.
        LATE: nothing happens for seconds; then the request reaches the gateway, when nobody may wait for it any more.
        SLOW: the answer takes a while.
    """

    UNAVAILABLE = "unavailable"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    HANG = "hang"
    LATE = "late"
    SLOW = "slow"


@dataclass(frozen=True)
class Weather:
    """How bad the network is.

    Attributes:
        rate: of requests that meet a fault, 0 to 1.
        faults: which ones, equally often.
        hang_s, slow_s: the shortest and the longest, in seconds.
    """

    rate: float = 0.2
    faults: tuple[Fault, ...] = tuple(Fault)
    hang_s: tuple[float, float] = (0.5, 3.0)
    slow_s: tuple[float, float] = (0.1, 1.0)


CALM = Weather(rate=0.0)


class _Lost(Exception):
    """The connection is to be broken, not closed."""


@dataclass(eq=False)
class FaultyProxy:
    """Listens on a free port and passes requests on to one gateway.

    Attributes:
        upstream: the gateway's port.
        seed: the same seed meets the n-th request with the same fault.
        cut: while set, every connection is refused or broken, as if the gateway's machine were down.
        silent: while set, nothing is answered and nothing passed on, as if a firewall swallowed it.
        met: how often each fault was met, and `passed` for none.
    """

    upstream: int
    seed: str
    weather: Weather = field(default_factory=Weather)
    cut: bool = False
    silent: bool = False
    port: int = 0
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._serving: set[asyncio.Task[object]] = set()

    @property
    def address(self) -> str:
        """Where Studio finds the gateway."""
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> asyncio.Server:
        """Begin to listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_LIMIT)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link: _Link | None = None
        task = asyncio.current_task()
        assert task is not None
        # The loop itself refers to a task that waits only weakly.
        self._serving.add(task)
        try:
            while (request := await _next_request(reader, link)) is not None:
                while self.silent:  # noqa: ASYNC110 (set by another thread, which an Event would not be told by)
                    await asyncio.sleep(0.05)
                if self.cut:
                    raise _Lost
                link = link or await _Link.to(self.upstream)
                writer.write(await self._answer(request, link))
                await writer.drain()
        except (_Lost, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _reset(writer)
        except asyncio.CancelledError:
            pass  # the end of the run; a cancelled task of a stream server is logged as if it were an error
        finally:
            if link is not None:
                link.writer.close()
            writer.close()
            self._serving.discard(task)

    async def _answer(self, request: bytes, link: _Link) -> bytes:
        """Meet one request with the next fault, or with none."""
        # Always the same three draws, so that the n-th request has its fate whatever the weather.
        chance, which, length = (self._random.random() for _ in range(3))
        weather = self.weather
        if chance >= weather.rate:
            self.met["passed"] += 1
            return await link.exchange(request)
        fault = weather.faults[int(which * len(weather.faults))]
        self.met[fault] += 1
        match fault:
            case Fault.UNAVAILABLE:
                return _UNAVAILABLE
            case Fault.RESET_BEFORE:
                raise _Lost
            case Fault.RESET_AFTER:
                await link.exchange(request)
                raise _Lost
            case Fault.HANG:
                await asyncio.sleep(_between(weather.hang_s, length))
                raise _Lost
            case Fault.LATE:
                await asyncio.sleep(_between(weather.hang_s, length))
                return await link.exchange(request)
            case Fault.SLOW:
                answer = await link.exchange(request)
                await asyncio.sleep(_between(weather.slow_s, length))
                return answer


@dataclass
class _Link:
    """A connection to the gateway, kept for as long as Studio keeps its own."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, port: int) -> _Link:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT))

    async def exchange(self, request: bytes) -> bytes:
        self.writer.write(request)
        await self.writer.drain()
        answer = await _message(self.reader)
        if answer is None:
            raise _Lost
        return answer


class Network:
    """All proxies of a run, on an event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self.proxies: list[FaultyProxy] = []

    def proxy(self, upstream: int, seed: str, weather: Weather) -> FaultyProxy:
        """A proxy in front of a gateway's port, listening already."""
        proxy = FaultyProxy(upstream, seed, weather)
        asyncio.run_coroutine_threadsafe(proxy.open(), self._loop).result(10)
        self.proxies.append(proxy)
        return proxy

    def met(self) -> Counter[str]:
        """What all requests together met."""
        return sum((proxy.met for proxy in self.proxies), Counter())

    def close(self) -> None:
        """Break every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _next_request(reader: asyncio.StreamReader, link: _Link | None) -> bytes | None:
    """The next request; None if Studio has left.

    Raises:
        _Lost: the gateway has left, and Studio has to hear of it at once, as it would without a proxy in between.
    """
    if link is None:
        return await _message(reader)
    request, gone = asyncio.ensure_future(_message(reader)), asyncio.ensure_future(link.reader.read(1))
    try:
        await asyncio.wait({request, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not request.done():
            raise _Lost
        return request.result()
    finally:
        for each in (request, gone):
            each.cancel()
        await asyncio.gather(request, gone, return_exceptions=True)


async def _message(reader: asyncio.StreamReader) -> bytes | None:
    """One request or answer, whole; None if the other side has left.

    Raises:
        IncompleteReadError, OSError: it left in the middle.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    return head + await reader.readexactly(_content_length(head))


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _between(span: tuple[float, float], where: float) -> float:
    return span[0] + (span[1] - span[0]) * where


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
