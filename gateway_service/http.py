"""What both surfaces share: reading bodies within bounds, one shape of errors, noticing that a caller left."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from contract.canonical import strict_loads
from contract.errors import ContractError, ErrorCode
from gateway_service.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.requests import Request
    from starlette.types import Receive

_T = TypeVar("_T")
_CODES_BY_STATUS = {
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    400: ErrorCode.INVALID_REQUEST,
}

_WATCH_AFTER_S = 0.02
"How long a caller that left may go unnoticed."

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

_log = logging.getLogger(__name__)


class CallerLeft(Exception):
    """The other side closed the connection; there is nobody to answer."""


class JsonResponse(Response):
    """An answer of JSON values."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode without escaping what is Unicode anyway."""
        return _ENCODER.encode(content).encode()


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body, refused as soon as it is known to be too large.

    Raises:
        GatewayError: it has more than `limit` bytes.
        CallerLeft: the other side closed the connection before its end.
    """
    too_large = GatewayError(ErrorCode.PAYLOAD_TOO_LARGE, f"the body has more than {limit} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise CallerLeft from None
    return bytes(body)


def require_json(request: Request) -> None:
    """Refuse a body that does not say it is JSON.

    Raises:
        GatewayError: the content type is another one, or missing.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise GatewayError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "the body must be sent as application/json")


async def read_json_object(request: Request, limit: int) -> dict[str, Any]:
    """The request's body as a JSON object.

    Raises:
        GatewayError: it is too large, is not sent as JSON, is no JSON, or is no object.
    """
    require_json(request)
    body = await read_body(request, limit)
    try:
        value = strict_loads(body)
    except ContractError as error:
        raise GatewayError(ErrorCode.INVALID_JSON, f"the body is {error.reason}") from None
    if not isinstance(value, dict):
        raise GatewayError(ErrorCode.INVALID_INPUT, "the body must be a JSON object")
    return value


async def unless_gone(work: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """Do the work, but cancel it when the other side leaves. The request's body must have been read.

    Raises:
        CallerLeft: the other side is gone; the work has ended.
    """
    watch = _Watch(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.caller_left():
            raise CallerLeft from None
        raise
    finally:
        watch.end()


class _Watch:
    """Cancels the task that made it when the other side leaves.

    It begins to look only after a moment: most of what is over by then would have cost less than the looking.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._working = asyncio.current_task()
        self._left = False
        self._looking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)

    def caller_left(self) -> bool:
        """Whether the cancellation that just arrived is this watch's own, and nobody else's on top."""
        assert self._working is not None
        return self._left and self._working.uncancel() == 0

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _begin(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        assert self._working is not None
        self._left = True
        self._working.cancel()


def error_response(error: GatewayError) -> Response:
    """The answer that an error becomes."""
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.code is ErrorCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="kaizen-gateway"'
    return JsonResponse(error.body(), status_code=error.code.status, headers=headers)


def from_exception(error: Exception) -> GatewayError:
    """Any exception as an error to answer with. What is no answer by intent is logged and called internal."""
    match error:
        case GatewayError():
            return error
        case HTTPException():
            code = _CODES_BY_STATUS.get(error.status_code, ErrorCode.INVALID_REQUEST)
            return GatewayError(code, {404: "there is no such path", 405: "the method is not allowed here"}.get(
                error.status_code, "the request is malformed"
            ))  # fmt: skip
        case _:
            _log.error("a request failed with %s", type(error).__name__, exc_info=error)
            return GatewayError(ErrorCode.INTERNAL, "the gateway failed; its log says why")
