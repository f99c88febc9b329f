"""Sessions, as their key sees them: list, read and forget."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from contract.errors import ErrorCode
from gateway_service.auth import authenticate_caller
from gateway_service.errors import GatewayError
from gateway_service.http import JsonResponse
from gateway_service.moments import moment
from gateway_service.store.session_memory import Position, SessionName

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway_service.gateway import Gateway
    from gateway_service.store.session_memory import Remembered, Session

PAGE_DEFAULT = 50
PAGE_LIMIT = 200


class SessionsChannel:
    """The routes under ``/sessions``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """What to mount."""
        guard = self._gateway.guard
        one = "/sessions/{registration}/{session_id:path}"
        return [
            Route("/sessions", guard(self.list), methods=["GET"]),
            Route("/sessions", guard(self.forget_all), methods=["DELETE"]),
            Route(one, guard(self.read), methods=["GET"]),
            Route(one, guard(self.forget), methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        """A page of the key's sessions, those used last first."""
        caller = authenticate_caller(request, self._gateway.state())
        limit = _limit(request)
        sessions = await self._gateway.memory.sessions(
            caller.key_id,
            registration=request.query_params.get("registration"),
            after=_position(request),
            limit=limit + 1,
        )
        page: dict[str, Any] = {"items": [self._shown(session) for session in sessions[:limit]], "next": None}
        if len(sessions) > limit:
            page["next"] = _cursor(sessions[limit - 1].position)
        return _answer(page)

    async def read(self, request: Request) -> Response:
        """One session, with what is remembered of it."""
        name = self._named(request)
        found = await self._gateway.memory.read(name)
        if found is None:
            raise _not_found()
        session, messages = found
        return _answer({**self._shown(session), "messages": [_message(remembered) for remembered in messages]})

    async def forget(self, request: Request) -> Response:
        """Forget one session."""
        if not await self._gateway.memory.forget(*self._named(request)):
            raise _not_found()
        return Response(status_code=204)

    async def forget_all(self, request: Request) -> Response:
        """Forget all sessions with one registration.

        Its name is a parameter, not a part of the path: a client that shortens the path of a session called ``.`` must
        not end up here.
        """
        caller = authenticate_caller(request, self._gateway.state())
        registration = request.query_params.get("registration")
        if not registration:
            raise GatewayError(
                ErrorCode.INVALID_REQUEST, "registration must say whose sessions to forget", path="registration"
            )
        forgotten = await self._gateway.memory.forget(caller.key_id, registration, None)
        return _answer({"forgotten": forgotten})

    def _named(self, request: Request) -> SessionName:
        caller = authenticate_caller(request, self._gateway.state())
        return SessionName(caller.key_id, request.path_params["registration"], request.path_params["session_id"])

    def _shown(self, session: Session) -> dict[str, Any]:
        return {
            "registration": session.registration,
            "session_id": session.session_id,
            "created_at": moment(session.created_at),
            "used_at": moment(session.used_at),
            "expires_at": moment(session.used_at + self._gateway.settings.sessions_kept_s),
        }


def _message(remembered: Remembered) -> dict[str, Any]:
    message = remembered.message
    return {"role": message.role, "content": message.content, "node": remembered.node, "at": moment(remembered.at)}


def _answer(content: dict[str, Any]) -> Response:
    return JsonResponse(content, headers={"Cache-Control": "no-store"})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE_DEFAULT))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= PAGE_LIMIT:
        raise GatewayError(ErrorCode.INVALID_REQUEST, f"limit must be a number from 1 to {PAGE_LIMIT}", path="limit")
    return int(text)


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(request: Request) -> Position | None:
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return None
    try:
        used_at, registration, session_id = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _bad_cursor() from None
    if not isinstance(used_at, float) or not isinstance(registration, str) or not isinstance(session_id, str):
        raise _bad_cursor()
    return Position(used_at, registration, session_id)


def _bad_cursor() -> GatewayError:
    return GatewayError(ErrorCode.INVALID_REQUEST, "cursor must be the `next` of another page", path="cursor")


def _not_found() -> GatewayError:
    return GatewayError(ErrorCode.NOT_FOUND, "the key has no such session")
