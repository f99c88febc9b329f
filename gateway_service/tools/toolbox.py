"""The tools of one agent in one execution: opened, offered to the model, called, and closed."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.tools import HttpTool, McpTools, RegistrationTool
from gateway_service.errors import GatewayError
from gateway_service.models.messages import Message
from gateway_service.tools.http_tool import HttpRequestTool
from gateway_service.tools.mcp_server import McpConnection
from gateway_service.tools.offered import ToolFailed, read_arguments
from gateway_service.tools.registration_tool import DelegatedTool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from contract.tools import Tool
    from gateway_service.execution.engine import Invocation
    from gateway_service.execution.running import Execution
    from gateway_service.metrics import Metrics
    from gateway_service.models.messages import ToolCall, ToolDefinition
    from gateway_service.outgoing.client import OutgoingClient
    from gateway_service.outgoing.secrets import ToolSecret
    from gateway_service.tools.offered import OfferedTool
    from gateway_service.tools.registration_tool import Delegation

_AT_ONCE = 8
"""Calls of one agent that run at the same time; what a model wants beyond that waits."""

_log = logging.getLogger(__name__)


class Toolbox:
    """The open tools of an agent.

    Attributes:
        definitions: what the model is told.
        missing: sentences about tools that are not there at this moment, for the model.
    """

    def __init__(
        self,
        offered: Sequence[OfferedTool],
        missing: Sequence[str],
        check_may_run: Callable[[], None],
        count: Callable[[str, str], None],
    ) -> None:
        """Take open tools.

        Args:
            offered: the tools.
            missing: see above.
            check_may_run: raises if a stop has ended the execution: then nothing may have an effect any more.
            count: is told the type and the outcome of each call.
        """
        self._tools = {tool.definition.name: tool for tool in offered}
        self.definitions: tuple[ToolDefinition, ...] = tuple(tool.definition for tool in self._tools.values())
        self.missing = missing
        self._check_may_run = check_may_run
        self._count = count
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def call(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Do what the model wants, side by side. What goes wrong is told to the model, and to nobody else.

        Raises:
            StoppedError: a stop has ended the execution.
        """
        self._check_may_run()
        return list(await asyncio.gather(*(self._result(call) for call in calls)))

    async def _result(self, call: ToolCall) -> Message:
        tool = self._tools.get(call.name)
        if tool is None:
            return Message("tool", f"Error: there is no tool {call.name!r}", call_id=call.call_id)
        outcome = "failed"
        try:
            async with self._turns:
                text = await tool.call(read_arguments(call.arguments))
            outcome = "succeeded"
        except ToolFailed as error:
            text = f"Error: {error}"
        except Exception as error:  # noqa: BLE001 (a defect in a tool must not end what the agent does besides)
            _log.error("a tool of type %s failed with %s", tool.type, type(error).__name__)
            text = "Error: the tool failed"
        self._count(tool.type, outcome)
        return Message("tool", text, call_id=call.call_id)


@dataclass(frozen=True)
class ToolAccess:
    """What the tools of every execution share.

    Attributes:
        client: the guarded way out.
        secrets: what the operator lets tools send.
        delegation: how other registrations are called.
    """

    client: OutgoingClient
    secrets: Mapping[str, ToolSecret]
    delegation: Delegation
    metrics: Metrics

    @asynccontextmanager
    async def open(self, tools: Sequence[Tool], invocation: Invocation, execution: Execution) -> AsyncIterator[Toolbox]:
        """Open the tools of an agent for one execution. One that cannot be opened is missing, and the agent goes on."""
        offered: list[OfferedTool] = []
        missing: list[str] = []
        async with AsyncExitStack() as stack:
            for tool in tools:
                try:
                    offered += await self._opened(tool, invocation, stack)
                except (ToolFailed, GatewayError) as error:
                    reason = error.message if isinstance(error, GatewayError) else str(error)
                    missing.append(f"The tool {tool.name} cannot be used now: {reason}.")
                    self.metrics.count_tool_call(invocation.registration.name, tool.type, "failed")

            def count(tool_type: str, outcome: str) -> None:
                self.metrics.count_tool_call(invocation.registration.name, tool_type, outcome)

            yield Toolbox(offered, missing, execution.refuse_if_stopped, count)

    async def _opened(self, tool: Tool, invocation: Invocation, stack: AsyncExitStack) -> Sequence[OfferedTool]:
        match tool:
            case HttpTool():
                return [HttpRequestTool(tool, self.client, self.secrets)]
            case McpTools():
                return await stack.enter_async_context(McpConnection(tool, self.client, self.secrets))
            case RegistrationTool():
                return [DelegatedTool(tool, invocation, self.delegation)]
