"""The Template node for the kailash runtime: text with blanks, filled in without asking any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kailash.nodes.base_async import AsyncNode

from gateway_service.execution.call import CALL
from gateway_service.nodes.agent import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kailash.nodes.base import NodeParameter

    from gateway_service.execution.call import Call


class TemplateNode(AsyncNode):  # type: ignore[misc]  # kailash has no types
    """Puts its inputs into a text that the release fixes. As with `KaizenAgent`, kailash's configuration is empty."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self._template: str = parameters["template"]

    def get_parameters(self) -> dict[str, NodeParameter]:
        """No parameters that kailash would have to know."""
        return {}

    async def execute_async(self, **runtime_inputs: Any) -> dict[str, Any]:
        """Run without kailash's merging, templating and per-call logging of inputs."""
        return await self.async_run(**runtime_inputs)

    async def async_run(self, **runtime_inputs: Any) -> dict[str, Any]:
        """Fill in this execution's values; the other runtime inputs come over connections."""
        call: Call = runtime_inputs.pop(CALL)
        text = render(self._template, {**call.values, **runtime_inputs})
        if call.emit is not None and text:
            await call.emit(text)
        return {"text": text}
