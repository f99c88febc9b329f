"""Executions that nobody waits for: begun with one request, asked for with others."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.execution.results import (
    RESULT_MAX_BYTES,
    KeptExecution,
    ResultsUnavailable,
    failed,
    interrupted,
    succeeded,
)
from gateway_service.http import from_exception

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway_service.execution.engine import Engine, Invocation
    from gateway_service.execution.results import Results

_LEASE_S = 15.0
"""How long an execution of a process that has died is still shown as running."""

_LOOK_EVERY_S = 1.0
"""How late an execution may notice that it was cancelled through another process."""

_RETRY_S = 2

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class BackgroundExecutions:
    """Runs executions in the background and keeps their results. Used on one event loop."""

    def __init__(self, engine: Engine, results: Results, *, kept_s: float) -> None:
        """Run in the background.

        Args:
            engine: runs executions.
            results: keeps how they ended.
            kept_s: seconds for which results are kept.
        """
        self._engine = engine
        self._results = results
        self._kept_s = kept_s
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closing = False

    async def begin(self, invocation: Invocation) -> None:
        """Return as soon as the execution runs.

        Raises:
            GatewayError: it was refused, as a synchronous one would have been; nothing is kept of it.
        """
        now = time.time()
        kept = KeptExecution(
            invocation.execution_id, invocation.key_id, invocation.registration.name,
            started_at=now, expires_at=now + self._kept_s, until=now + _LEASE_S,
        )  # fmt: skip
        await _kept(self._results.begin(kept))
        admitted = asyncio.Event()
        running = asyncio.create_task(self._run(invocation, kept, admitted), name=invocation.execution_id)
        self._running[kept.execution_id] = kept.key_id, running
        self._keep_looking()
        waiting = asyncio.ensure_future(admitted.wait())
        try:
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not admitted.is_set():
            await running

    async def find(self, key_id: str, execution_id: str) -> KeptExecution:
        """An execution of a key, as it is now.

        Raises:
            GatewayError: the key has none of this id, or has it no more.
        """
        kept = await _kept(self._results.find(key_id, execution_id))
        now = time.time()
        if kept is None or kept.expires_at < now:
            raise _not_found()
        if not kept.interrupted(now):
            return kept
        return replace(kept, finished_at=kept.until, ending=_encoded(failed(interrupted(execution_id))))

    async def cancel(self, key_id: str, execution_id: str) -> None:
        """End an execution of a key if it runs, and forget it.

        Raises:
            GatewayError: the key has none of this id.
        """
        if not await _kept(self._results.forget(key_id, execution_id)):
            raise _not_found()
        _, running = self._running.get(execution_id, ("", None))
        if running is not None:
            running.cancel()
            await asyncio.wait({running})

    async def close(self, within_s: float) -> None:
        """Let what runs end, for so long; then cancel it, and keep that it was interrupted."""
        tasks = {task for _, task in self._running.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=within_s)
        self._closing = True
        for task in tasks:
            task.cancel()
        if self._looking is not None:
            self._looking.cancel()
            tasks.add(self._looking)
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, invocation: Invocation, kept: KeptExecution, admitted: asyncio.Event) -> None:
        try:
            result = await self._engine.run(invocation, admitted=admitted.set)
            ending = succeeded(result.to_json())
        except asyncio.CancelledError:
            if not self._closing:
                return  # It was forgotten before it was cancelled, so nobody will ask.
            ending = failed(interrupted(kept.execution_id))
        except Exception as error:
            if not admitted.is_set():
                await _kept(self._results.forget(kept.key_id, kept.execution_id))
                raise
            ending = failed(from_exception(error))
        finally:
            self._running.pop(kept.execution_id, None)
        await self._finish(kept, ending)

    async def _finish(self, kept: KeptExecution, ending: dict[str, Any]) -> None:
        content = _encoded(ending)
        if len(content) > RESULT_MAX_BYTES:
            content = _encoded(failed(_too_large(kept.execution_id)))
        now = time.time()
        try:
            await self._results.finish(replace(kept, finished_at=now, expires_at=now + self._kept_s, ending=content))
        except ResultsUnavailable as error:
            # Its lease runs out, and whoever asks learns that it was interrupted.
            _log.error("the result of %s could not be kept: %s", kept.execution_id, error)

    def _keep_looking(self) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="background-executions")

    async def _look(self) -> None:
        """Say that what runs still runs, and cancel what was forgotten through another process."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not self._running:
                continue
            running = [(key_id, execution_id) for execution_id, (key_id, _) in self._running.items()]
            try:
                gone = await self._results.renew(running, time.time() + _LEASE_S)
            except ResultsUnavailable as error:
                _log.error("executions in the background could not be renewed: %s", error)
                continue
            for execution_id in gone & self._running.keys():
                self._running[execution_id][1].cancel()


async def _kept(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return await work
    except ResultsUnavailable as error:
        _log.error("results of executions in the background are out of reach: %s", error)
        raise GatewayError(
            ErrorCode.NOT_READY, "results cannot be kept or read now; try again soon", retry_after_s=_RETRY_S
        ) from None


def _encoded(ending: dict[str, Any]) -> bytes:
    return json.dumps(ending, ensure_ascii=False, separators=(",", ":")).encode()


def _not_found() -> GatewayError:
    return GatewayError(ErrorCode.NOT_FOUND, "the key has no such execution, or has it no more")


def _too_large(execution_id: str) -> GatewayError:
    error = GatewayError(
        ErrorCode.INVALID_OUTPUT, f"the answer has more than the {RESULT_MAX_BYTES} bytes that are kept of one"
    )
    error.execution_id = execution_id
    return error
