"""What each node of an execution did, for the execution log. Holds no input and no output."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from contract.admin_api import ExecutionStatus
from contract.errors import ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.execution.call import Failure
from gateway_service.models.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway_service.execution.call import Call

_NOTHING = Usage()


class NodeTrace(NamedTuple):
    """One node's part of a record; in the order in which it is stored."""

    node: str
    status: str
    duration_ms: float
    input_tokens: int
    output_tokens: int
    error_code: str | None
    costs: dict[str, int]


def traces(calls: Mapping[str, Call], now: float) -> tuple[NodeTrace, ...]:
    """The traces of the nodes that have begun.

    Args:
        calls: every node's share of the execution.
        now: the execution's end, on the clock of `Call.began`.
    """
    return tuple(_trace(node, call, call.began, now) for node, call in calls.items() if call.began is not None)


def _trace(node: str, call: Call, began: float, now: float) -> NodeTrace:
    usage = call.usage or _NOTHING
    duration_ms = round(((now if call.ended is None else call.ended) - began) * 1_000, 3)
    code = None if call.failure is None else call.failure.code
    return NodeTrace(node, _status(call), duration_ms, usage.input_tokens, usage.output_tokens, code, call.costs)


def failure_of(error: BaseException) -> Failure:
    """What is kept of a node's exception."""
    match error:
        case GatewayError(code=code):
            return Failure(code)
        case asyncio.CancelledError():
            return Failure(None)
        case _:
            return Failure(ErrorCode.NODE_FAILED)


def _status(call: Call) -> ExecutionStatus:
    if call.failure is None:
        return ExecutionStatus.CANCELLED if call.ended is None else ExecutionStatus.SUCCEEDED
    return ExecutionStatus.CANCELLED if call.failure.code is None else ExecutionStatus.FAILED
