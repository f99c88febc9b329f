"""The KaizenAgent node for the kailash runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kailash.nodes.base_async import AsyncNode

from gateway_service.execution.call import CALL
from gateway_service.nodes.agent import AgentSettings, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kailash.nodes.base import NodeParameter

    from gateway_service.execution.call import Call


class KaizenAgent(AsyncNode):  # type: ignore[misc]  # kailash has no types
    """A language model with instructions.

    Its parameters live in an object of its own, and kailash's configuration of the node stays empty. So there is
    nothing that runtime inputs could override (`merged = {**config, **runtime_inputs}`), and no ``${...}`` in
    instructions or messages is ever substituted.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self._settings = AgentSettings.from_parameters(parameters)

    def get_parameters(self) -> dict[str, NodeParameter]:
        """No parameters that kailash would have to know."""
        return {}

    async def execute_async(self, **runtime_inputs: Any) -> dict[str, Any]:
        """Run without kailash's merging, templating and per-call logging of inputs."""
        return await self.async_run(**runtime_inputs)

    async def async_run(self, **runtime_inputs: Any) -> dict[str, Any]:
        """Answer this execution's call; the other runtime inputs come over connections."""
        call: Call = runtime_inputs.pop(CALL)
        return await answer(self._settings, call, runtime_inputs)
