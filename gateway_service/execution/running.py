"""The executions that run at this moment, so that a stop can end them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from gateway_service.stopped import StoppedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from contract.stops import Stop
    from gateway_service.execution.call import Call
    from gateway_service.models.messages import Answer, ChatRequest
    from gateway_service.models.openai_protocol import Emit
    from gateway_service.registrations import Registration

    Outputs = dict[str, Any]
    Chat = Callable[[ChatRequest, Emit | None], Awaitable[Answer]]

_ENDED_WITHIN_S = 2.0
"""How long an acknowledgement waits for executions that a stop has cancelled. Ours end within a millisecond."""

_log = logging.getLogger(__name__)


class Execution:
    """One execution, from its admission to its end.

    A stop ends it through its own time limit: the limit passes now. So there is one way in which an execution is torn
    down from within, and no second task for each.

    Attributes:
        calls: what its nodes were given, by node.
        stopped: whether a stop has ended it. Whatever it still answers is thrown away.
    """

    def __init__(self, registration: Registration, chat: Chat, emit: Emit | None) -> None:
        self.registration = registration
        self.calls: dict[str, Call] = {}
        self.stopped = False
        self._chat = chat
        self._emit = emit
        self._limit = asyncio.timeout(registration.release.limits.timeout_s)
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def limit(self) -> asyncio.Timeout:
        """The time limit, to be entered once, before the execution waits for anything."""
        return self._limit

    async def chat(self, request: ChatRequest, emit: Emit | None) -> Answer:
        """Ask a model.

        Raises:
            StoppedError: a node that swallowed its cancellation asks once more.
        """
        self.refuse_if_stopped()
        return await self._chat(request, emit)

    async def emit(self, text: str) -> None:
        """Hand over a piece of text.

        Raises:
            StoppedError: as in `chat`.
        """
        self.refuse_if_stopped()
        if self._emit is not None:
            await self._emit(text)

    def stop(self) -> None:
        """Cancel it, once."""
        if self.stopped:
            return
        self.stopped = True
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def spawn(self, work: Coroutine[Any, Any, Outputs]) -> asyncio.Task[Outputs]:
        """Start a task of this execution. It is cancelled when the execution ends before it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)
        return task

    def end(self) -> None:
        """It is over. Nodes that still run because a sibling failed are cancelled."""
        # The calls hold our methods, and we hold the calls: without this, each execution would wait for the collector.
        self.calls = {}
        for task in self._tasks:
            task.cancel()
        self._over.set()

    async def ended(self) -> None:
        """Return when nothing of it runs any more."""
        await self._over.wait()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Nobody asks for an execution's second error, and asyncio would log its words, which may be a caller's.
            task.exception()

    def refuse_if_stopped(self) -> None:
        """Look before anything that has an effect outside.

        Raises:
            StoppedError: as in `chat`.
        """
        if self.stopped:
            raise StoppedError(self.registration.name)


class RunningExecutions:
    """All executions of this process that have been admitted and are not over. Used on the event loop only."""

    def __init__(self) -> None:
        self._executions: set[Execution] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._executions)

    def add(self, execution: Execution) -> None:
        """An execution was admitted."""
        self._executions.add(execution)

    def discard(self, execution: Execution) -> None:
        """An execution is over."""
        self._executions.discard(execution)
        execution.end()

    def stop(self, stop: Stop) -> None:
        """Cancel what a stop covers."""
        for execution in self._covered(stop):
            execution.stop()

    async def ended(self, stop: Stop) -> None:
        """Return when nothing that a stop covers runs any more, or after a short while.

        A node that swallows its cancellation must not keep the receipt of a stop from Studio. What such a node does
        afterwards has no effect: it can neither ask a model nor send text, and its answer is thrown away. It is
        counted as running until it ends.
        """
        covered = self._covered(stop)
        try:
            async with asyncio.timeout(_ENDED_WITHIN_S):
                for execution in covered:
                    await execution.ended()
        except TimeoutError:
            names = sorted({execution.registration.name for execution in covered if execution in self._executions})
            _log.error("stopped executions of %s do not end; nothing they do has an effect", ", ".join(names))

    def _covered(self, stop: Stop) -> list[Execution]:
        return [
            execution
            for execution in self._executions
            if stop.covers(execution.registration.name, execution.registration.release.digest)
        ]
