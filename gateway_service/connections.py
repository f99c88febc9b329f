"""What a connection may take before anybody knows who it is: time, bytes of headers, and room in the process.

uvicorn bounds none of these for its fast parser: a stranger who sends a header a minute, or headers without end, or who
never reads an answer, would hold a connection and its memory for ever. Times are those of whole requests and not of
single reads, because somebody who sends a byte a second is always about to send the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.http import error_response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

HEAD_MAX_BYTES = 32_768
"""The most bytes of a request line with its headers: room for a key, a trace, and what proxies add."""

_BUSY_RETRY_S = 5


@dataclass(frozen=True)
class Bounds:
    """What each connection of a listener may take.

    Attributes:
        read_s: seconds in which a request must have arrived whole: from its first byte, or from the connection's
            beginning, to its last byte.
        stall_s: seconds that an answer waits for a reader who takes nothing of it.
        connections: how many there may be at once.
        refused: told of each refusal, since no endpoint sees these.
    """

    read_s: float
    stall_s: float
    connections: int
    refused: Callable[[GatewayError], None]


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, which llhttp parses strictly, within bounds. `bounded` makes the class for a listener."""

    bounds: ClassVar[Bounds]

    _in_head = True
    """Whether the head of the next request is what comes; else it is the body of the last one."""
    _head_bytes = 0
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _refusal: GatewayError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, or refuse whoever is one too many."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections:
            self._refuse(GatewayError(ErrorCode.OVERLOADED, "too many connections", retry_after_s=_BUSY_RETRY_S))
        else:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._has_arrived()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        self._expect_request()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
            self._refuse(_head_too_long())

    def on_message_begin(self) -> None:
        """The first byte of a request; it may have come together with the end of the one before."""
        self._expect_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The whole head is here; it may have come in one piece, however long."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_MAX_BYTES:
            self._refusal = _head_too_long()
            # llhttp stops, and calls `send_400_response`.
            raise self._refusal
        super().on_headers_complete()
        self._in_head = False

    def on_message_complete(self) -> None:
        """The whole request is here."""
        super().on_message_complete()
        self._in_head, self._head_bytes = True, 0
        self._has_arrived()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn calls it by name)
        """Refuse what is no HTTP, in the shape of all errors instead of with uvicorn's message."""
        self._refuse(self._refusal or GatewayError(ErrorCode.INVALID_REQUEST, "this is no well-formed HTTP request"))

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self.bounds.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again, or is gone."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _expect_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.bounds.read_s, self._is_late)

    def _has_arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        self._late = None
        if self.flow.read_paused:
            # It is us who do not read: an earlier request of this connection is being answered.
            self._expect_request()
        elif self._in_head and not self._head_bytes:
            # A connection that was opened in advance and never used is no fault.
            self.transport.close()
        else:
            self._refuse(
                GatewayError(ErrorCode.REQUEST_TIMEOUT, f"the request was not sent within {self.bounds.read_s:g} s")
            )

    def _refuse(self, error: GatewayError) -> None:
        """Answer with an error, unless that could be taken for the answer to another request, and close."""
        self.bounds.refused(error)
        if self._may_answer():
            answer = error_response(error)
            lines = [b"%s: %s\r\n" % header for header in answer.raw_headers]
            head = [STATUS_LINE[answer.status_code], *lines, b"connection: close\r\n\r\n"]
            self.transport.write(b"".join([*head, bytes(answer.body)]))
        self.transport.close()

    def _may_answer(self) -> bool:
        last: RequestResponseCycle | None = self.cycle
        if last is None:
            return True
        if self._in_head:
            return last.response_complete
        return not last.response_started and not self.pipeline


def bounded(bounds: Bounds) -> type[BoundedProtocol]:
    """The protocol of one listener."""
    return type("ListenerProtocol", (BoundedProtocol,), {"bounds": bounds})


def _head_too_long() -> GatewayError:
    return GatewayError(ErrorCode.HEADERS_TOO_LARGE, f"the request's head has more than {HEAD_MAX_BYTES} bytes")
