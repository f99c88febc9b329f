"""One gateway process, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from typing import TYPE_CHECKING

from starlette.responses import Response

from contract.errors import ErrorCode
from gateway_service.channels.event_stream import EventStream, StreamFormat
from gateway_service.errors import GatewayError
from gateway_service.execution.background import BackgroundExecutions
from gateway_service.execution.engine import Engine, Invocation
from gateway_service.execution.running import RunningExecutions
from gateway_service.http import CallerLeft, error_response, from_exception
from gateway_service.identity import load_identity
from gateway_service.kinds import CallerKeys, Stops, gateway_kinds
from gateway_service.limits.admission import Admission
from gateway_service.live_state import LiveState, Snapshot
from gateway_service.metrics import Metrics
from gateway_service.models.client import ModelClient
from gateway_service.outgoing.client import OutgoingClient
from gateway_service.runtime import NexusRuntime
from gateway_service.stopped import StoppedError
from gateway_service.store.execution_log import ExecutionLog
from gateway_service.store.placements import PlacementStore
from gateway_service.store.shared_state import shared_state
from gateway_service.tools.admission import check_tools
from gateway_service.tools.registration_tool import Delegation
from gateway_service.tools.toolbox import ToolAccess
from gateway_service.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from contract.caller_keys import KeyLimits
    from gateway_service.execution.engine import Result
    from gateway_service.registrations import Registration
    from gateway_service.settings import Settings

    Endpoint = Callable[[Request], Awaitable[Response]]

_CLIENT_CLOSED_REQUEST = 499
_LOOK_EVERY_S = 0.25
"""How late a process may notice what another one on the same store has acknowledged, if no request makes it look."""

_BLOCKED_RETRY_S = 5

_log = logging.getLogger(__name__)


class Gateway:
    """Everything one process holds: identity, stores, live state, runtime, engine, metrics.

    Attributes:
        boot_id: new with each start.
        started: on the monotonic clock.
    """

    engine: Engine
    background: BackgroundExecutions

    def __init__(self, settings: Settings) -> None:
        """Open the files, creating what is missing. Blocks on the disk.

        Raises:
            IdentityError, OSError, sqlite3.DatabaseError: the data folder cannot be used.
        """
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.identity = load_identity(settings.data_dir)
        self.trust = Trust(self.identity.gateway_id, settings.trusted_keys)
        self.store = PlacementStore(settings.data_dir, self.trust.vouches_for)
        self.log = ExecutionLog(settings.data_dir, keep=settings.executions_kept)
        self._shared = shared_state(settings)
        self.memory = self._shared.memory
        self.metrics = Metrics()
        self._runtime = NexusRuntime()
        self._running = RunningExecutions()
        self.kinds = gateway_kinds(
            settings.profiles,
            check_tools=lambda release: check_tools(release, settings.tool_rules, settings.tool_secrets),
            warm=self._runtime.warm if settings.warm else _stay_cold,
            retire=self._runtime.retire,
            running=self._running,
        )
        self._live = LiveState(self.store, self.kinds, identity=self.identity, trust=self.trust)
        self.boot_id = uuid.uuid4().hex
        self.started = time.monotonic()

    async def start(self) -> None:
        """Load the store and get ready to execute. Runs on the event loop that serves."""
        self._models = ModelClient(self.settings.profiles, self.metrics)
        prices = {name: profile.price for name, profile in self.settings.profiles.items() if profile.price}
        self._limits = Admission(self._shared.ledger, limits_of=self._limits_of, prices=prices)
        self.engine = Engine(
            runtime=self._runtime,
            models=self._models,
            tools=self._tool_access(),
            memory=self.memory,
            log=self.log,
            metrics=self.metrics,
            running=self._running,
            check_may_run=self._check_may_run,
            limits=self._limits,
            prices=prices,
            max_concurrent=self.settings.max_concurrent,
        )
        self.background = BackgroundExecutions(self.engine, self._shared.results, kept_s=self.settings.results_kept_s)
        self.state()
        self._looking = asyncio.create_task(self._keep_looking(), name="look-at-store")

    async def stop(self) -> None:
        """Write what is pending and let go of everything. Executions that somebody waited for have ended."""
        await self.background.close(within_s=self._drain_left_s())
        self._looking.cancel()
        await asyncio.wait({self._looking})
        await self._limits.close()
        await self._models.close()
        await self._outgoing.close()
        await self._runtime.close()
        self.log.close()
        await self._shared.close()
        self.store.close()

    def _tool_access(self) -> ToolAccess:
        self._outgoing = OutgoingClient(self.settings.tool_rules)
        return ToolAccess(
            client=self._outgoing,
            secrets=self.settings.tool_secrets,
            delegation=Delegation(self.unblocked_state, self._run_for_agent),
            metrics=self.metrics,
        )

    async def _run_for_agent(self, invocation: Invocation) -> Result:
        return await self.engine.run(invocation)

    def state(self) -> Snapshot:
        """What the gateway serves now, including what any process has stored until now."""
        return self._live.current()

    def unblocked_state(self) -> Snapshot:
        """The same as `state`, if anything at all may run here.

        Raises:
            GatewayError: a stop on the disk cannot be read, so nobody knows what it forbids.
        """
        snapshot = self.state()
        if snapshot.blocked:
            raise GatewayError(
                ErrorCode.NOT_READY,
                "a stop in the gateway's store is damaged; nothing runs here until Studio has placed it again",
                retry_after_s=_BLOCKED_RETRY_S,
            )
        return snapshot

    def _check_may_run(self, registration: Registration) -> None:
        if self.unblocked_state().view(Stops).covers(registration):
            self.metrics.refuse_stopped(registration.name)
            raise StoppedError(registration.name)

    def _drain_left_s(self) -> float:
        """What callers' connections have left of the time that a stop gives to running executions."""
        since = self.engine.draining_since
        return self.settings.drain_s if since is None else max(0.0, since + self.settings.drain_s - time.monotonic())

    def _limits_of(self, key_id: str) -> KeyLimits | None:
        key = self.state().view(CallerKeys).get(key_id)
        return None if key is None else key.limits

    async def _keep_looking(self) -> None:
        """Take notice of what other processes on the same store have accepted, also while nobody calls."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                self.state()
                self._live.look()
            except Exception:  # noqa: BLE001 (whatever it is, the next look must come)
                # Requests meet the same error and fail. The next look may find the disk well again, so there must be
                # one: a stop that another process has acknowledged is not allowed to go unnoticed.
                _log.exception("the store cannot be read")

    def event_stream(self, invocation: Invocation, form: StreamFormat) -> EventStream:
        """An answer that sends the execution's text while it runs."""
        return EventStream(
            lambda emit: self.engine.run(invocation, emit),
            form,
            invocation.headers,
            lambda error: self.metrics.refuse("caller", error.code),
        )

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, with every exception turned into an answer of the one shape."""

        async def guarded(request: Request) -> Response:
            try:
                return await endpoint(request)
            except CallerLeft:
                return Response(status_code=_CLIENT_CLOSED_REQUEST)
            except Exception as error:  # noqa: BLE001 (each becomes an answer)
                refusal = from_exception(error)
                self.metrics.refuse(_surface(request.url.path), refusal.code)
                return error_response(refusal)

        return guarded


def _stay_cold() -> None:
    """Load Nexus with the first execution, and not before."""


def restrict_files() -> None:
    """From here on, files of this process are for its owner only: they hold keys and conversations."""
    os.umask(0o077)


def _surface(path: str) -> str:
    return "admin" if path.startswith("/admin/") or path == "/metrics" else "caller"
