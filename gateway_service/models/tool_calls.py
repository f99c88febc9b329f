"""Tool calls as the OpenAI protocol carries them: whole, and in the pieces of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway_service.models.characters import well_formed
from gateway_service.models.failures import ModelFailed
from gateway_service.models.messages import ToolCall

MAX_CALLS = 64
"""The most calls of one answer. A model that wants more has lost its way."""

_NAME_MAX_LENGTH = 256


def whole_tool_calls(calls: Any) -> tuple[ToolCall, ...]:
    """The `tool_calls` of a message.

    Raises:
        ModelFailed: they are not what the protocol says.
    """
    pieces = ToolCallPieces()
    if isinstance(calls, list):
        # A whole call is a piece that is alone; some servers leave its index out.
        pieces.add([{**call, "index": index} for index, call in enumerate(calls) if isinstance(call, dict)])
    return pieces.whole()


@dataclass
class _Piece:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCallPieces:
    """Puts the calls of a stream together. What belongs together has the same index."""

    def __init__(self) -> None:
        self._calls: dict[int, _Piece] = {}

    def add(self, deltas: Any) -> None:
        """Take the `tool_calls` of one event; None if it has none.

        Raises:
            ModelFailed: there are too many calls.
        """
        if not isinstance(deltas, list):
            return
        for delta in deltas:
            if isinstance(delta, dict):
                self._add(delta)

    def whole(self) -> tuple[ToolCall, ...]:
        """All calls, in their order.

        Raises:
            ModelFailed: one has no name.
        """
        calls = [self._calls[index] for index in sorted(self._calls)]
        if any(not call.name for call in calls):
            raise ModelFailed("the model's answer calls a tool without a name")
        # Some servers give their calls no ids; the results need one to refer to.
        return tuple(
            ToolCall(well_formed(call.call_id) or f"call_{index}", well_formed(call.name), well_formed(call.arguments))
            for index, call in enumerate(calls)
        )

    def _add(self, delta: dict[str, Any]) -> None:
        index = delta.get("index")
        if not isinstance(index, int):
            # Without an index, a piece with an id begins a call, and one without goes on with the last.
            index = len(self._calls) - (not delta.get("id"))
        call = self._calls.setdefault(max(index, 0), _Piece())
        if len(self._calls) > MAX_CALLS:
            raise ModelFailed(f"the model's answer calls more than {MAX_CALLS} tools")
        function = delta.get("function")
        function = function if isinstance(function, dict) else {}
        call.call_id = call.call_id or _text(delta.get("id"))
        call.name = (call.name or _text(function.get("name")))[:_NAME_MAX_LENGTH]
        call.arguments += _text(function.get("arguments"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
