"""The one path every execution takes, whatever channel it came through."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from contract.admin_api import Channel, ExecutionStatus
from contract.errors import ErrorCode
from contract.schemas import first_violation
from gateway_service.errors import GatewayError
from gateway_service.execution.call import CALL, Call
from gateway_service.models.messages import Message, Usage
from gateway_service.nodes.agent import MESSAGE_INPUT
from gateway_service.store.execution_log import FinishedExecution
from gateway_service.store.session_memory import Conversation

if TYPE_CHECKING:
    from gateway_service.metrics import Metrics
    from gateway_service.models.openai_protocol import Emit, ModelClient
    from gateway_service.registrations import Registration
    from gateway_service.runtime import NexusRuntime
    from gateway_service.store.execution_log import ExecutionLog
    from gateway_service.store.session_memory import SessionMemory

_OVERLOADED_RETRY_S = 1
_DRAINING_RETRY_S = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invocation:
    """A caller's wish, already authenticated and in scope.

    Attributes:
        history: earlier messages that the caller brought along (OpenAI channel).
        session_id: names a session of the caller's key, for agents with memory.
    """

    registration: Registration
    inputs: dict[str, Any]
    key_id: str
    channel: Channel
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    execution_id: str = field(default_factory=lambda: f"exe_{uuid.uuid4().hex}")


@dataclass(frozen=True)
class Result:
    """A finished execution, as callers see it."""

    execution_id: str
    registration: str
    release: str
    outputs: dict[str, Any]
    usage: Usage

    def to_json(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "outputs": self.outputs,
            "execution_id": self.execution_id,
            "registration": self.registration,
            "release": self.release,
            "usage": self.usage.to_json(),
        }


class Engine:
    """Admits, runs, limits and records executions."""

    def __init__(
        self,
        *,
        runtime: NexusRuntime,
        models: ModelClient,
        memory: SessionMemory,
        log: ExecutionLog,
        metrics: Metrics,
        max_concurrent: int,
    ) -> None:
        self._runtime = runtime
        self._models = models
        self._memory = memory
        self._log = log
        self._metrics = metrics
        self.max_concurrent = max_concurrent
        self.in_flight = 0
        self.draining = False

    async def run(self, invocation: Invocation, emit: Emit | None = None) -> Result:
        """Run one execution to its end and record it.

        Args:
            invocation: what to run.
            emit: receives the text piece by piece, where the registration streams.

        Raises:
            GatewayError: the inputs do not fit, the gateway is full or draining, or the execution failed.
        """
        self._check_inputs(invocation)
        self._admit()
        started, clock = datetime.now(UTC), time.perf_counter()
        calls = self._calls(invocation, emit)
        status, code = ExecutionStatus.FAILED, ErrorCode.INTERNAL
        self.in_flight += 1
        try:
            result = await self._run_in_time(invocation, calls)
        except GatewayError as error:
            error.execution_id, code = invocation.execution_id, error.code
            status = ExecutionStatus.TIMED_OUT if code is ErrorCode.TIMED_OUT else ExecutionStatus.FAILED
            raise
        except asyncio.CancelledError:
            status, code = ExecutionStatus.CANCELLED, ErrorCode.CANCELLED
            raise
        else:
            status = ExecutionStatus.SUCCEEDED
            return result
        finally:
            self.in_flight -= 1
            _cancel_leftovers(calls)
            error_code = None if status is ExecutionStatus.SUCCEEDED else code
            self._record(invocation, calls, started, time.perf_counter() - clock, status, error_code)

    def _check_inputs(self, invocation: Invocation) -> None:
        violation = first_violation(invocation.registration.input_validator, invocation.inputs)
        if violation:
            path = f"inputs.{violation.path}".rstrip(".")
            raise GatewayError(ErrorCode.INVALID_INPUT, f"{path} {violation.reason}", path=path)

    def _admit(self) -> None:
        if self.draining:
            raise GatewayError(
                ErrorCode.DRAINING, "the gateway is about to stop; another one serves", retry_after_s=_DRAINING_RETRY_S
            )
        if self.in_flight >= self.max_concurrent:
            raise GatewayError(
                ErrorCode.OVERLOADED, "the gateway runs as much as it may", retry_after_s=_OVERLOADED_RETRY_S
            )

    def _calls(self, invocation: Invocation, emit: Emit | None) -> dict[str, Call]:
        registration = invocation.registration
        calls = {}
        for node in registration.release.workflow.nodes:
            values = registration.bound_values(node.id, invocation.inputs)
            calls[node.id] = Call(
                values=values,
                chat=self._models.chat,
                history=invocation.history if MESSAGE_INPUT in values else (),
                emit=emit if node.id == registration.streaming_node else None,
                max_tokens=registration.release.limits.max_tokens,
            )
        return calls

    async def _run_in_time(self, invocation: Invocation, calls: dict[str, Call]) -> Result:
        limit = invocation.registration.release.limits.timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._run(invocation, calls)
        except TimeoutError:
            raise GatewayError(ErrorCode.TIMED_OUT, f"the execution did not end within {limit:g} s") from None

    async def _run(self, invocation: Invocation, calls: dict[str, Call]) -> Result:
        registration = invocation.registration
        await self._recall(invocation, calls)
        try:
            results = await self._runtime.run(registration, {node: {CALL: call} for node, call in calls.items()})
        except Exception as error:
            raise _cause(error) from error
        outputs = _outputs(registration, results)
        await self._remember(invocation, calls)
        usage = _usage(calls)
        return Result(invocation.execution_id, registration.name, registration.release.digest, outputs, usage)

    async def _recall(self, invocation: Invocation, calls: dict[str, Call]) -> None:
        for node, conversation in _conversations(invocation):
            calls[node].history = await asyncio.to_thread(self._memory.recall, conversation)

    async def _remember(self, invocation: Invocation, calls: dict[str, Call]) -> None:
        for node, conversation in _conversations(invocation):
            await asyncio.to_thread(self._memory.remember, conversation, calls[node].exchange)

    def _record(
        self,
        invocation: Invocation,
        calls: dict[str, Call],
        started: datetime,
        seconds: float,
        status: ExecutionStatus,
        code: ErrorCode | None,
    ) -> None:
        usage = _usage(calls)
        finished = FinishedExecution(
            execution_id=invocation.execution_id,
            registration=invocation.registration.name,
            release_digest=invocation.registration.release.digest,
            key_id=invocation.key_id,
            channel=invocation.channel,
            started_at=started.isoformat(timespec="milliseconds"),
            duration_ms=round(seconds * 1_000, 3),
            status=status,
            error_code=code,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            session_id=invocation.session_id,
        )
        self._log.record(finished)
        self._metrics.observe(finished)


def _conversations(invocation: Invocation) -> list[tuple[str, Conversation]]:
    if invocation.session_id is None:
        return []
    name = invocation.registration.name
    return [
        (node, Conversation(invocation.key_id, name, invocation.session_id, node))
        for node in invocation.registration.memory_nodes
    ]


def _outputs(registration: Registration, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    outputs = {output.name: results[output.node][output.output] for output in registration.release.interface.outputs}
    if registration.output_validator is not None:
        violation = first_violation(registration.output_validator, outputs)
        if violation:
            path = f"outputs.{violation.path}".rstrip(".")
            raise GatewayError(ErrorCode.INVALID_OUTPUT, f"the release's answer breaks its schema: {path}", path=path)
    return outputs


def _usage(calls: dict[str, Call]) -> Usage:
    return sum((call.usage for call in calls.values() if call.usage), Usage())


def _cancel_leftovers(calls: dict[str, Call]) -> None:
    """End nodes that still run because a sibling failed: kailash gathers without cancelling."""
    for call in calls.values():
        if call.task is not None and not call.task.done():
            call.task.cancel()


def _cause(error: BaseException) -> GatewayError:
    """Our own error inside kailash's wrapping, or a plain one: kailash's messages may hold values of inputs."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatewayError):
            return cause
        cause = cause.__cause__
    _log.error("a node failed with %s", type(error).__name__, exc_info=_without_message(error))
    return GatewayError(ErrorCode.NODE_FAILED, "a node of the workflow failed")


def _without_message(error: BaseException) -> tuple[type[Exception], Exception, Any]:
    """The place of an error for the log, without its words, which may be a caller's."""
    return RuntimeError, RuntimeError(type(error).__name__), error.__traceback__
