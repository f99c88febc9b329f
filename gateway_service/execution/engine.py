"""The one path every execution takes, whatever channel it came through."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from contract.admin_api import Channel, ExecutionStatus
from contract.errors import ErrorCode
from contract.schemas import first_violation
from gateway_service.errors import GatewayError
from gateway_service.execution.call import Call
from gateway_service.execution.running import Execution
from gateway_service.execution.trace import traces
from gateway_service.limits.shares import Shares
from gateway_service.models.messages import NO_CLIENT_TOOLS, ClientTurn, Message, Usage
from gateway_service.nodes.agent import MESSAGE_INPUT
from gateway_service.prices import priced
from gateway_service.stopped import StoppedError
from gateway_service.store.execution_log import FinishedExecution
from gateway_service.store.session_memory import Conversation, SessionName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway_service.execution.running import RunningExecutions
    from gateway_service.limits.admission import Admission, Reservation
    from gateway_service.metrics import Metrics
    from gateway_service.models.client import ModelClient
    from gateway_service.models.messages import ToolCall
    from gateway_service.models.openai_protocol import Emit
    from gateway_service.prices import Price
    from gateway_service.registrations import Registration
    from gateway_service.runtime import NexusRuntime
    from gateway_service.store.execution_log import ExecutionLog
    from gateway_service.store.session_memory import SessionMemory
    from gateway_service.tools.toolbox import ToolAccess

_DRAINING_RETRY_S = 5
_STATUSES: dict[ErrorCode | None, ExecutionStatus] = {
    None: ExecutionStatus.SUCCEEDED,
    ErrorCode.TIMED_OUT: ExecutionStatus.TIMED_OUT,
    ErrorCode.CANCELLED: ExecutionStatus.CANCELLED,
    ErrorCode.STOPPED: ExecutionStatus.CANCELLED,
}
"""How an execution ended, by its error's code; with any other one it failed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Invocation:
    """A caller's wish, already authenticated, in scope and routed.

    Attributes:
        registration: the release or the canary that it goes to.
        history: earlier messages that the caller brought along (OpenAI channel).
        session_id: names a session of the caller's key, for agents with memory.
        turn: the tools that the caller runs itself; only a registration that takes them is given any.
        depth: how many agents stand between the caller and this execution: 0 unless it is the tool of one.
        max_tokens: a bound of the caller's own on the answer; it can lower the release's, and never raise it.
        headers: how the key stands with its limits, for the answer; known as soon as the execution was admitted.
    """

    registration: Registration
    inputs: dict[str, Any]
    key_id: str
    channel: Channel
    session_id: str | None = None
    history: tuple[Message, ...] = ()
    turn: ClientTurn = NO_CLIENT_TOOLS
    depth: int = 0
    max_tokens: int | None = None
    execution_id: str = field(default_factory=lambda: f"exe_{secrets.token_hex(16)}")
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished execution, as callers see it.

    Attributes:
        finish_reason: why the model that answered has ended, in the words of the OpenAI protocol.
        client_calls: what the caller shall do, and tell the results of, before the agent goes on.
    """

    execution_id: str
    registration: str
    release: str
    outputs: dict[str, Any]
    usage: Usage
    finish_reason: str = "stop"
    client_calls: tuple[ToolCall, ...] = ()

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
        tools: ToolAccess,
        memory: SessionMemory,
        log: ExecutionLog,
        metrics: Metrics,
        running: RunningExecutions,
        check_may_run: Callable[[Registration], None],
        limits: Admission,
        prices: Mapping[str, Price],
        max_concurrent: int,
    ) -> None:
        """Wire the engine.

        Args:
            runtime: executes workflows.
            models: asks models.
            tools: opens the tools of agents.
            memory: what agents remember.
            log: receives a record of each execution.
            metrics: count them.
            running: knows them while they run.
            check_may_run: raises `GatewayError` if the gateway must not run a registration at this moment.
            limits: keeps keys within theirs.
            prices: of the model profiles that have one.
            max_concurrent: executions at once.
        """
        self._runtime = runtime
        self._models = models
        self._tools = tools
        self._memory = memory
        self._log = log
        self._metrics = metrics
        self._running = running
        self._check_may_run = check_may_run
        self._limits = limits
        self._prices = prices
        self._shares = Shares(max_concurrent)
        self.max_concurrent = max_concurrent
        self.draining_since: float | None = None

    @property
    def draining(self) -> bool:
        """Whether nothing new is admitted. Each time it is set, running executions get their time anew."""
        return self.draining_since is not None

    @draining.setter
    def draining(self, draining: bool) -> None:
        self.draining_since = time.monotonic() if draining else None

    @property
    def in_flight(self) -> int:
        """How many executions run now."""
        return len(self._running)

    async def run(
        self, invocation: Invocation, emit: Emit | None = None, *, admitted: Callable[[], None] | None = None
    ) -> Result:
        """Run one execution to its end and record it.

        Args:
            invocation: what to run.
            emit: receives the text piece by piece, where the registration streams.
            admitted: is called when the execution begins; not if it is refused.

        Raises:
            GatewayError: a limit of the key is reached, the registration is stopped, the inputs do not fit, the gateway
                is full or draining, or the execution failed.
        """
        reservation = await self._limits.reserve(invocation)
        invocation.headers.update(reservation.headers)
        try:
            execution = self._admit(invocation, emit, reservation)
        except Exception as error:
            await reservation.settle(begun=False)
            if isinstance(error, GatewayError):
                error.headers = invocation.headers
            raise
        if admitted is not None:
            admitted()
        started, clock = datetime.now(UTC), time.perf_counter()
        code: ErrorCode | None = ErrorCode.INTERNAL
        try:
            result = await self._run_unless_stopped(invocation, execution)
        except GatewayError as error:
            error.execution_id, code = invocation.execution_id, error.code
            error.headers = invocation.headers
            raise
        except asyncio.CancelledError:
            # The caller left, or the process ends; perhaps only since a stop has ended the execution.
            code = ErrorCode.STOPPED if execution.stopped else ErrorCode.CANCELLED
            raise
        else:
            code = None
            return result
        finally:
            ended, calls = time.perf_counter(), execution.calls
            self._running.discard(execution)
            self._shares.give_back(invocation.key_id)
            self._record(invocation, calls, started, (clock, ended), code)
            await reservation.settle()

    def _admit(self, invocation: Invocation, emit: Emit | None, reservation: Reservation) -> Execution:
        """Begin an execution, or refuse it.

        There is no await in here: between the last look at the stops and the moment from which on a new stop finds the
        execution among the running ones, nothing can happen.
        """
        self._check_may_run(invocation.registration)
        self._check_inputs(invocation)
        self._check_not_draining()
        execution = Execution(invocation.registration, reservation.metered(self._models.chat), emit)
        execution.calls = _calls(invocation, execution, self._tools, self._prices, streams=emit is not None)
        self._shares.take(invocation.key_id)
        self._running.add(execution)
        return execution

    def _check_inputs(self, invocation: Invocation) -> None:
        registration = invocation.registration
        if registration.input_fits(invocation.inputs):
            return
        violation = first_violation(registration.input_validator, invocation.inputs)
        if violation:
            path = f"inputs.{violation.path}".rstrip(".")
            raise GatewayError(ErrorCode.INVALID_INPUT, f"{path} {violation.reason}", path=path)

    def _check_not_draining(self) -> None:
        if self.draining:
            raise GatewayError(
                ErrorCode.DRAINING, "the gateway is about to stop; another one serves", retry_after_s=_DRAINING_RETRY_S
            )

    async def _run_unless_stopped(self, invocation: Invocation, execution: Execution) -> Result:
        try:
            result = await self._run_in_time(invocation, execution)
        except Exception:
            if not execution.stopped:
                raise
            # What a stop tears down may fail in many ways, and each of them is the stop.
            raise StoppedError(invocation.registration.name) from None
        if execution.stopped:
            raise StoppedError(invocation.registration.name)
        return result

    async def _run_in_time(self, invocation: Invocation, execution: Execution) -> Result:
        try:
            async with execution.limit:
                return await self._run(invocation, execution)
        except TimeoutError:
            limit = invocation.registration.release.limits.timeout_s
            raise GatewayError(ErrorCode.TIMED_OUT, f"the execution did not end within {limit:g} s") from None

    async def _run(self, invocation: Invocation, execution: Execution) -> Result:
        registration, calls = invocation.registration, execution.calls
        await self._recall(invocation, calls)
        try:
            plan = await self._runtime.plan(registration)
            results = await plan.run(calls, execution.spawn)
        except Exception as error:
            raise _cause(error) from error
        answering = calls.get(registration.streaming_node or "")
        client_calls = answering.client_calls if answering else ()
        outputs = _outputs(registration, results, whole=not client_calls)
        if execution.stopped:
            # A node swallowed its cancellation. Nobody gets its answer, so no session may remember it either.
            raise StoppedError(registration.name)
        await self._remember(invocation, calls)
        return Result(
            execution_id=invocation.execution_id,
            registration=registration.name,
            release=registration.digest,
            outputs=outputs,
            usage=_usage(calls),
            finish_reason=answering.finish_reason if answering else "stop",
            client_calls=client_calls,
        )

    async def _recall(self, invocation: Invocation, calls: dict[str, Call]) -> None:
        for node, conversation in _conversations(invocation):
            calls[node].history = await self._memory.recall(conversation)

    async def _remember(self, invocation: Invocation, calls: dict[str, Call]) -> None:
        for node, conversation in _conversations(invocation):
            await self._memory.remember(conversation, calls[node].exchange)

    def _record(
        self,
        invocation: Invocation,
        calls: dict[str, Call],
        started: datetime,
        clock: tuple[float, float],
        code: ErrorCode | None,
    ) -> None:
        usage = _usage(calls)
        finished = FinishedExecution(
            execution_id=invocation.execution_id,
            registration=invocation.registration.name,
            release_digest=invocation.registration.digest,
            key_id=invocation.key_id,
            channel=invocation.channel,
            started_at=started.isoformat(timespec="milliseconds"),
            duration_ms=round((clock[1] - clock[0]) * 1_000, 3),
            status=_STATUSES.get(code, ExecutionStatus.FAILED),
            error_code=code,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            session_id=invocation.session_id,
            nodes=traces(calls, clock[1]),
        )
        self._log.record(finished)
        self._metrics.observe(finished, canary=invocation.registration.canary)


def _calls(
    invocation: Invocation, execution: Execution, tools: ToolAccess, prices: Mapping[str, Price], *, streams: bool
) -> dict[str, Call]:
    """What the nodes are given, by node."""
    registration = invocation.registration
    calls = {}
    for node in registration.bindings:
        values = registration.bound_values(node, invocation.inputs)
        answers = node == registration.streaming_node
        costs: dict[str, int] = {}
        calls[node] = Call(
            values=values,
            chat=priced(execution.chat, prices, costs),
            costs=costs,
            open_tools=lambda wanted: tools.open(wanted, invocation, execution),
            history=invocation.history if MESSAGE_INPUT in values else (),
            emit=execution.emit if streams and answers else None,
            turn=invocation.turn if answers and registration.takes_client_tools else NO_CLIENT_TOOLS,
            max_tokens=_least(registration.release.limits.max_tokens, invocation.max_tokens if answers else None),
        )
    return calls


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _conversations(invocation: Invocation) -> list[tuple[str, Conversation]]:
    if invocation.session_id is None:
        return []
    session = SessionName(invocation.key_id, invocation.registration.name, invocation.session_id)
    return [(node, Conversation(session, node)) for node in invocation.registration.memory_nodes]


def _outputs(registration: Registration, results: dict[str, dict[str, Any]], *, whole: bool) -> dict[str, Any]:
    """The outputs; checked, unless the caller shall do something before there is a whole answer."""
    outputs = {output.name: results[output.node][output.output] for output in registration.release.interface.outputs}
    if whole and registration.output_validator is not None and not registration.output_fits(outputs):
        violation = first_violation(registration.output_validator, outputs)
        if violation:
            path = f"outputs.{violation.path}".rstrip(".")
            raise GatewayError(ErrorCode.INVALID_OUTPUT, f"the release's answer breaks its schema: {path}", path=path)
    return outputs


def _usage(calls: dict[str, Call]) -> Usage:
    return sum((call.usage for call in calls.values() if call.usage), Usage())


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
