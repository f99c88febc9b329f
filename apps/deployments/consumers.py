"""The playground's WebSocket: `/ws/playground/<deployment>/`. Its messages stand in `docs/frontend.md`."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import httpx
import structlog
from channels.db import database_sync_to_async
from django.core.exceptions import ValidationError

from apps.core.actors import Actor
from apps.core.commands import require
from apps.core.consumers import TenantConsumer
from apps.core.errors import Conflict, NotFound, StudioError
from apps.core.outgoing import guarded_async_client
from apps.core.ports import ports
from apps.core.tenancy import tenant
from apps.deployments.commands import close_playground, open_playground
from apps.deployments.conversation import Answered, Failed, Line, Said
from apps.deployments.models import Deployment, Playground
from apps.deployments.playground import MESSAGE_MAX_LENGTH, Opening, Way, inputs_of, is_open, opening_of, way_to
from contract.errors import ErrorCode

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.2
_LOOK_AT_LEAST_EVERY_S = 2.0
_LIMITS = httpx.Limits(max_connections=2, max_keepalive_connections=1)
_TIMEOUT = httpx.Timeout(10.0)


class PlaygroundConsumer(TenantConsumer):
    """One conversation. The key of its opening never leaves this object.

    The permission is asked when it opens and again for every message, so that a role that was taken away ends it.
    """

    opening: Opening | None = None
    address: str = ""
    _client: httpx.AsyncClient | None = None
    _waiting: asyncio.Task[None] | None = None
    _answering: asyncio.Task[None] | None = None
    _ending: asyncio.Task[None] | None = None

    async def opened(self) -> None:
        # Names this conversation to agents with memory; another socket is another conversation.
        self.session_id = f"playground-{secrets.token_hex(12)}"
        await self._open()

    async def disconnect(self, code: int) -> None:
        for task in (self._waiting, self._answering):
            if task is not None:
                task.cancel()
        await self._hang_up()
        await self._close_playground()

    async def receive_json(self, content: Any, **_: Any) -> None:
        if self.opening is None:
            return
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "stop":
            await self._stop()
        elif kind == "message":
            await self._message(content.get("text"))
        else:
            await self._say_error("A frame is a JSON object of type “message” or “stop”.", ErrorCode.INVALID_REQUEST)

    # Opening and waiting ------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        identifier = self.scope["url_route"]["kwargs"]["id"]
        self.opening = await self.in_tenant(lambda actor: _open(actor, identifier))
        self._waiting = asyncio.create_task(self._wait_for_way())

    async def _wait_for_way(self) -> None:
        """Say what the conversation waits for, until there is a gateway to hold it with."""
        assert self.opening is not None
        opening, said, pause = self.opening, "", _LOOK_EVERY_S
        while True:
            try:
                way = await self.in_tenant(lambda actor: self._look(actor, opening))
            except StudioError as error:
                await self.close_saying(4000 + error.status, error.message)
                return
            if way.address:
                await self._dial(way.address)
                await self.send_json({"type": "ready"})
                return
            if way.waits_for != said:
                said = way.waits_for
                await self.send_json({"type": "waiting", "reason": said})
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, _LOOK_AT_LEAST_EVERY_S)

    def _look(self, actor: Actor, opening: Opening) -> Way:
        self._require_open(actor)
        return way_to(opening)

    async def _dial(self, address: str) -> None:
        """Hold the conversation on this gateway: an agent's memory of it lives there."""
        if self.address != address:
            await self._hang_up()
            self.address = address
            self._client = guarded_async_client(base_url=address, timeout=_TIMEOUT, limits=_LIMITS)

    async def _hang_up(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None
            self.address = ""

    # The conversation ---------------------------------------------------------------------------------------------

    async def _message(self, text: Any) -> None:
        if not isinstance(text, str) or not text.strip():
            await self._say_error("Write something.", ErrorCode.INVALID_INPUT)
        elif len(text) > MESSAGE_MAX_LENGTH:
            await self._say_error(f"A message has at most {MESSAGE_MAX_LENGTH} characters.", ErrorCode.INVALID_INPUT)
        elif self._answering is not None and not self._answering.done():
            await self._say_error("The agent is still answering.", ErrorCode.CONFLICT)
        elif self._client is None:
            await self._say_error("No gateway is ready for this conversation yet.", ErrorCode.NOT_READY)
        else:
            self._answering = asyncio.create_task(self._answer(text))
            self._answering.add_done_callback(self._report)

    async def _answer(self, text: str) -> None:
        """Ask again whether the actor may, send the message, pass on what comes."""
        assert self.opening is not None
        assert self._client is not None
        try:
            await self.in_tenant(self._require_open)
        except StudioError as error:
            await self._say_error(error.message, error.code)
            await self.close_saying(4000 + error.status, error.message)
            return
        line = Line(self._client, self.opening.registration, self.opening.key, self.session_id)
        async for happening in line.exchange(inputs_of(text, self.opening.inputs)):
            await self._pass_on(happening)

    def _require_open(self, actor: Actor) -> None:
        """Raise unless this conversation may go on.

        Raises:
            Denied, NotFound: the actor may not talk to the agent any more, or it is gone.
            Conflict: the quarter of an hour is over. The browser connects again and gets another.
        """
        assert self.opening is not None
        require(actor, "playground.open", _visible(actor, str(self.opening.deployment)))
        if not is_open(self.opening):
            raise Conflict("This conversation was over after 15 minutes; a new one begins. Send your message again.")

    async def _pass_on(self, happening: Said | Answered | Failed) -> None:
        match happening:
            case Said(text):
                await self.send_json({"type": "token", "text": text})
            case Answered(usage, execution_id, duration_ms):
                await self.send_json(
                    {"type": "done", "usage": usage, "execution_id": execution_id, "duration_ms": duration_ms}
                )
            case Failed(message, code):
                await self._say_error(message, code)
                if code in ("gateway_unreachable", ErrorCode.DRAINING):
                    await self._look_elsewhere()

    async def _look_elsewhere(self) -> None:
        await self._hang_up()
        self._waiting = asyncio.create_task(self._wait_for_way())

    def _report(self, task: asyncio.Task[None]) -> None:
        """A defect of ours must not leave the person waiting for an answer: end the socket, the browser comes again."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("playground_failed", exc_info=task.exception())
        self._ending = asyncio.create_task(self.close_saying(4500, "Something went wrong."))

    async def _stop(self) -> None:
        """Leave: the gateway ends an execution whose caller left."""
        if self._answering is None or self._answering.done():
            return
        self._answering.cancel()
        await asyncio.wait({self._answering})
        await self._say_error("Stopped.", ErrorCode.CANCELLED)

    async def _say_error(self, message: str, code: str) -> None:
        await self.send_json({"type": "error", "message": message, "code": str(code)})

    async def _close_playground(self) -> None:
        opening, self.opening = self.opening, None
        if opening is None:
            return
        try:
            await self.in_tenant(lambda actor: _close(actor, opening))
        except StudioError:
            # The member signed out or lost the right meanwhile: all the more reason to end the key.
            await database_sync_to_async(_close_as_studio)(self.schema, opening)


def _open(actor: Actor, identifier: str) -> Opening:
    playground, text = open_playground(actor=actor, deployment=_visible(actor, identifier))
    return opening_of(playground, text.text)


def _visible(actor: Actor, identifier: str) -> Deployment:
    """The deployment, if the actor may see it.

    Raises:
        NotFound: it does not exist, or not for the actor.
    """
    try:
        found = ports.visible(Deployment.objects.with_names(), actor, "deployment.view").filter(pk=identifier).first()
    except (ValueError, ValidationError):
        found = None
    if found is None:
        raise NotFound("There is no such deployment, or you may not see it.")
    deployment: Deployment = found
    return deployment


def _close(actor: Actor, opening: Opening) -> None:
    playground = Playground.objects.filter(pk=opening.playground, closed_at=None).first()
    if playground is None:
        return
    try:
        close_playground(actor=actor, playground=playground)
    except Conflict:
        log.info("playground_closed_meanwhile", playground=str(opening.playground))


def _close_as_studio(schema: str, opening: Opening) -> None:
    with tenant(schema):
        _close(Actor.system("playground"), opening)
