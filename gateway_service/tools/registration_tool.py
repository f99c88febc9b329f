"""Tools that are other registrations of this gateway.

A call goes the way of every execution: it is admitted, limited, recorded, and ended by stops like any other. It has the
rights of the caller's key, looked at again at this moment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import ErrorCode
from contract.names import registration_name, split_registration_name
from gateway_service.auth import Caller
from gateway_service.errors import GatewayError
from gateway_service.execution.engine import Invocation
from gateway_service.kinds import CallerKeys
from gateway_service.models.messages import ToolDefinition
from gateway_service.tools.offered import ToolFailed, cut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from contract.tools import RegistrationTool
    from gateway_service.execution.engine import Result
    from gateway_service.live_state import Snapshot

MAX_DEPTH = 3
"""How many agents may stand between a caller and an execution. Agents that call each other end here."""


@dataclass(frozen=True)
class Delegation:
    """How an execution calls another registration.

    Attributes:
        state: what the gateway serves now.
        run: runs an execution.
    """

    state: Callable[[], Snapshot]
    run: Callable[[Invocation], Awaitable[Result]]

    def caller(self, key_id: str) -> Caller:
        """The caller of a running execution, by the key as it is now.

        Raises:
            GatewayError: the key was revoked or has expired meanwhile.
        """
        snapshot = self.state()
        key = snapshot.view(CallerKeys).get(key_id)
        if key is None or key.expired():
            raise GatewayError(ErrorCode.FORBIDDEN, "the caller's key is not valid any more")
        return Caller(key_id, key, snapshot)


class DelegatedTool:
    """Another registration, ready to be called."""

    type = "registration"

    def __init__(self, tool: RegistrationTool, invocation: Invocation, delegation: Delegation) -> None:
        """Look the registration up.

        Raises:
            GatewayError: it is not there, or beyond the key's scope.
        """
        environment = split_registration_name(invocation.registration.name).environment
        self._name = registration_name(tool.agent, environment)
        self._invocation = invocation
        self._delegation = delegation
        registration = delegation.caller(invocation.key_id).registration(self._name)
        description = tool.description or registration.release.metadata.description or f"Calls {self._name}."
        self.definition = ToolDefinition(tool.name, description, registration.input_schema)

    async def call(self, arguments: dict[str, Any]) -> str:
        """Run it, as the caller of this execution."""
        parent = self._invocation
        if parent.depth >= MAX_DEPTH:
            raise ToolFailed(f"agents may call each other {MAX_DEPTH} times deep, and this would be deeper")
        try:
            caller = self._delegation.caller(parent.key_id)
            registration = caller.routed(caller.registration(self._name), parent.session_id)
            result = await self._delegation.run(
                Invocation(
                    registration,
                    arguments,
                    parent.key_id,
                    parent.channel,
                    parent.session_id,
                    depth=parent.depth + 1,
                )
            )
        except GatewayError as error:
            raise ToolFailed(f"{error.code}: {error.message}") from None
        outputs = result.outputs
        only = next(iter(outputs.values())) if len(outputs) == 1 else None
        return cut(only if isinstance(only, str) else json.dumps(outputs, ensure_ascii=False))
