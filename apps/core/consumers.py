"""WebSockets: the base that knows who is at the other end, and the live fragments."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import DatabaseError

from apps.core.errors import NotFound, StudioError
from apps.core.live import Fragment, access_group, fragments, group_name
from apps.core.tenancy import tenant

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.core.actors import Actor

log = structlog.get_logger(__name__)

T = TypeVar("T")
# Close codes of ours repeat the HTTP status that the same refusal would have, after 4000 (RFC 6455 leaves them to us).
_REREAD_EVERY_S = 5.0
_LONGEST_REASON = 123


class TenantConsumer(AsyncJsonWebsocketConsumer):
    """A socket of a signed-in member. `SocketGate` has resolved the organization and the session.

    Attributes:
        schema: the organization's schema; every query goes through `in_tenant`.
    """

    schema: str

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        if "schema" in self.scope:
            self.groups = [access_group(self.scope["schema"])]
        await super().websocket_connect(message)

    async def connect(self) -> None:
        """Accept first, so that a refusal reaches the browser as a close code it can read."""
        await self.accept()
        refusal = self.scope.get("refusal")
        if refusal is not None:
            await self.close_saying(*refusal)
            return
        self.schema = self.scope["schema"]
        try:
            await self.opened()
        except StudioError as error:
            await self.close_saying(4000 + error.status, error.message)

    async def opened(self) -> None:
        """What a consumer does once the socket stands."""

    async def access_changed(self, message: dict[str, Any]) -> None:
        """Somebody lost a session, a role, or the organization: end the socket if it was this one."""
        try:
            await self.in_tenant(lambda _actor: None)
        except StudioError as error:
            await self.close_saying(4000 + error.status, error.message)

    async def close_saying(self, code: int, reason: str) -> None:
        """Close with a reason, cut to what a close frame holds (RFC 6455, 5.5: 125 bytes with the code)."""
        await self.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Binary frames are no part of any of our protocols."""
        if text_data:
            await super().receive(text_data=text_data, **kwargs)

    async def in_tenant(self, function: Callable[[Actor], T]) -> T:
        """Run `function(actor)` in a thread, inside the organization's schema, as the session's user *of this moment*.

        Raises:
            Unauthenticated: the session ended or the user was deactivated since.
            Suspended: the organization was suspended since.
        """
        answer: T = await database_sync_to_async(self._enter)(function)
        return answer

    def _enter(self, function: Callable[[Actor], T]) -> T:
        with tenant(self.schema):
            return function(self.scope["actor_now"]())

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        try:
            return await super().decode_json(text_data)
        except ValueError:
            return None


class NoSuchSocket(TenantConsumer):
    """What stands at every path that leads nowhere; without it a stranger could fill the log with tracebacks."""

    async def opened(self) -> None:
        raise NotFound("There is no socket at this address.")


class LiveConsumer(TenantConsumer):
    """Keeps one fragment of a page fresh: re-renders on a hint and every five
    seconds, sends what changed or that nothing did."""

    fragment: Fragment
    _last: str | None = None
    _task: asyncio.Task[None] | None = None

    async def opened(self) -> None:
        route = self.scope["url_route"]["kwargs"]
        if route["name"] not in fragments:
            raise NotFound("There is no such live view.")
        self.fragment, self.id = fragments[route["name"]], route["id"]
        self._wake = asyncio.Event()
        for resource_type in self.fragment.listens_to:
            await self.channel_layer.group_add(group_name(self.schema, resource_type), self.channel_name)
        await self._send()
        self._task = asyncio.create_task(self._refresh())

    async def disconnect(self, code: int) -> None:
        if self._task is not None:
            self._task.cancel()
        if hasattr(self, "_wake"):
            for resource_type in self.fragment.listens_to:
                await self.channel_layer.group_discard(group_name(self.schema, resource_type), self.channel_name)

    async def hint(self, message: dict[str, Any]) -> None:
        self._wake.set()

    async def access_changed(self, message: dict[str, Any]) -> None:
        # Rendering asks for the session and for the permission.
        self._wake.set()

    async def _refresh(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout=_REREAD_EVERY_S)
            # A burst of hints becomes one rendering.
            await asyncio.sleep(0.05)
            self._wake.clear()
            try:
                await self._send()
            except StudioError as error:
                await self.send_json({"gone": True, "reason": error.message})
                await self.close_saying(4000 + error.status, error.message)
                return
            except DatabaseError as error:
                # The database restarts now and then; the next tick reads again.
                log.warning("live_reread_failed", fragment=self.fragment.name, reason=type(error).__name__)

    async def _send(self) -> None:
        html = await self.in_tenant(lambda actor: self.fragment.render(actor, self.id))
        # An unchanged fragment is answered too: a browser cannot see pings, and takes silence for a dead connection.
        await self.send_json({"html": html} if html != self._last else {"unchanged": True})
        self._last = html
