"""Addresses where a gateway is expected and none answers: they hang, or swallow connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOSTS_MAX = 250


class HangingGateways:
    """Many addresses that accept connections, read requests, and never answer. For use as a context manager.

    Attributes:
        addresses: `http://127.1.0.N:PORT`, each a gateway of its own.
        pushes: how many pushes wait for an answer at each of them now.
        most: the most that waited at once.
        received: how many pushes ever arrived.
    """

    def __init__(self, number: int) -> None:
        assert 0 < number <= _HOSTS_MAX, f"at most {_HOSTS_MAX}"
        self.pushes: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self._sockets = list(_listeners(number))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def addresses(self) -> list[str]:
        return [_address(each) for each in self._sockets]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for each in self._sockets:
            each.close()

    async def _listen(self) -> None:
        for each in self._sockets:
            await asyncio.start_server(self._hang, sock=each)

    async def _hang(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("sockname")[:2]
        address = f"http://{host}:{port}"
        method = (await reader.readline()).split(b" ")[0]
        pushing = method in (b"PUT", b"DELETE")
        if pushing:
            self.received[address] += 1
            self.pushes[address] += 1
            self.most[address] = max(self.most[address], self.pushes[address])
        with contextlib.suppress(ConnectionError):
            while await reader.read(65_536):
                pass
        if pushing:
            self.pushes[address] -= 1
        writer.close()


@contextlib.contextmanager
def dripping(head: bytes, drop: bytes, *, every_s: float) -> Iterator[str]:
    """An address that answers whatever it is sent with `head` and then with one `drop` after the other, without end."""
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), listener.accept()[0] as caller:
                caller.recv(65_536)
                caller.sendall(head)
                while not ended.wait(every_s):
                    caller.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        thread.join()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that swallows connections: whoever connects waits until he gives up.

    Its queue of connections that nobody accepts is full, and Linux then drops what comes.
    """
    with contextlib.ExitStack() as kept:
        listener = kept.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            filler = kept.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _listeners(number: int) -> Iterator[socket.socket]:
    for index in range(1, number + 1):
        listener = socket.socket()
        listener.bind((f"127.1.0.{index}", 0))
        listener.listen(64)
        listener.setblocking(False)
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
