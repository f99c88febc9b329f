"""One gateway process, wired together."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway_service.channels.event_stream import EventStream, StreamFormat
from gateway_service.execution.engine import Engine, Invocation
from gateway_service.http import CallerLeft, error_response, from_exception
from gateway_service.identity import load_identity
from gateway_service.kinds import gateway_kinds
from gateway_service.live_state import LiveState, Snapshot
from gateway_service.metrics import Metrics
from gateway_service.models.openai_protocol import ModelClient
from gateway_service.runtime import NexusRuntime
from gateway_service.store.execution_log import ExecutionLog
from gateway_service.store.placements import PlacementStore
from gateway_service.store.session_memory import SessionMemory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway_service.settings import Settings

    Endpoint = Callable[[Request], Awaitable[Response]]

_CLIENT_CLOSED_REQUEST = 499


class Gateway:
    """Everything one process holds: identity, stores, live state, runtime, engine, metrics.

    Attributes:
        boot_id: new with each start.
        started: on the monotonic clock.
    """

    engine: Engine

    def __init__(self, settings: Settings) -> None:
        """Open the files, creating what is missing. Blocks on the disk.

        Raises:
            IdentityError, OSError, sqlite3.DatabaseError: the data folder cannot be used.
        """
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.settings = settings
        self.identity = load_identity(settings.data_dir)
        self.store = PlacementStore(settings.data_dir)
        self.log = ExecutionLog(settings.data_dir, keep=settings.executions_kept)
        self._memory = SessionMemory(settings.data_dir)
        self.metrics = Metrics()
        self.kinds = gateway_kinds(settings.profiles.keys())
        self._runtime = NexusRuntime()
        self._live = LiveState(
            self.store,
            self.kinds,
            gateway_id=self.identity.gateway_id,
            trusted_keys=settings.trusted_keys,
            retire=self._runtime.retire,
        )
        self.boot_id = uuid.uuid4().hex
        self.started = time.monotonic()

    async def start(self) -> None:
        """Load the store and get ready to execute. Runs on the event loop that serves."""
        self._models = ModelClient(self.settings.profiles)
        self.engine = Engine(
            runtime=self._runtime,
            models=self._models,
            memory=self._memory,
            log=self.log,
            metrics=self.metrics,
            max_concurrent=self.settings.max_concurrent,
        )
        self.state()

    async def stop(self) -> None:
        """Write what is pending and let go of everything. Executions have ended."""
        await self._models.close()
        await self._runtime.close()
        self.log.close()
        self._memory.close()
        self.store.close()

    def state(self) -> Snapshot:
        """What the gateway serves now, including what any process has stored until now."""
        snapshot = self._live.current()
        if snapshot.registrations:
            self._runtime.warm()
        return snapshot

    def event_stream(self, invocation: Invocation, form: StreamFormat) -> EventStream:
        """An answer that sends the execution's text while it runs."""
        return EventStream(
            lambda emit: self.engine.run(invocation, emit),
            form,
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


def restrict_files() -> None:
    """From here on, files of this process are for its owner only: they hold keys and conversations."""
    os.umask(0o077)


def _surface(path: str) -> str:
    return "admin" if path.startswith("/admin/") or path == "/metrics" else "caller"
