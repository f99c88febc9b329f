"""What one node is given for one execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway_service.models.messages import NO_CLIENT_TOOLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from contract.errors import ErrorCode
    from contract.tools import Tool
    from gateway_service.models.messages import Answer, ChatRequest, ClientTurn, Message, ToolCall, Usage
    from gateway_service.models.openai_protocol import Emit
    from gateway_service.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Failure:
    """How a node ended that did not succeed; a cancellation has no code."""

    code: ErrorCode | None


CALL = "kaizen.call"
"""The one runtime input of every node. The dot keeps it apart from all inputs that a release can name."""


@dataclass(eq=False)
class Call:
    """A node's share of an execution.

    It is an object, not a dict, on purpose. kailash replaces ``${name}`` in every string of every dict and list that it
    passes to a node, and lets inputs override a node's configuration by name. Here a caller's values are neither
    strings nor names that kailash sees.

    Attributes:
        values: the bound inputs, by the node's input names; None where an optional input was left out.
        history: earlier messages of the conversation, oldest first.
        chat: asks a model.
        open_tools: opens the tools of an agent for as long as it works.
        emit: receives the answer piece by piece, on the node whose text is being streamed.
        max_tokens: the bound on any one answer: the release's, and on the node that answers the caller also theirs.
        turn: the tools that the caller runs itself, and what came of them so far.
        client_calls: set by the node: what the caller shall do before the agent goes on.
        exchange: set by the node: what the memory of the session shall keep.
        usage: set by the node: what it spent, also when it failed afterwards.
        answered_by: set by the node: the model profile that answered last, which may be a fallback.
        finish_reason: set by the node: why the model ended, as it says itself.
        costs: what its models have cost until now, in millionths of a unit, by currency.
        began, ended: when it ran, in seconds of `time.perf_counter`; None as long as it did not.
        failure: why it did not succeed. Not the exception, which would hold everything in a circle.
    """

    values: Mapping[str, Any]
    chat: Callable[[ChatRequest, Emit | None], Awaitable[Answer]]
    open_tools: Callable[[Sequence[Tool]], AbstractAsyncContextManager[Toolbox]]
    history: Sequence[Message] = ()
    emit: Emit | None = None
    max_tokens: int | None = None
    turn: ClientTurn = NO_CLIENT_TOOLS
    client_calls: tuple[ToolCall, ...] = ()
    exchange: list[Message] = field(default_factory=list)
    usage: Usage | None = None
    answered_by: str = ""
    finish_reason: str = "stop"
    costs: dict[str, int] = field(default_factory=dict)
    began: float | None = None
    ended: float | None = None
    failure: Failure | None = None

    def __repr__(self) -> str:
        """Say nothing of the values: kailash formats inputs into messages."""
        return "Call()"
