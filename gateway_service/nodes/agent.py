"""What a KaizenAgent does, independent of the workflow engine that calls it."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import ErrorCode
from contract.names import FIELD_PATTERN
from contract.nodes import DEFAULT_STEPS
from contract.schemas import compile_schema
from contract.tools import parse_tools
from gateway_service.errors import GatewayError
from gateway_service.models.messages import Message, Usage
from gateway_service.nodes.dialogue import Dialogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema.protocols import Validator

    from contract.tools import Tool
    from gateway_service.execution.call import Call

MESSAGE_INPUT = "message"
_VARIABLE = re.compile(r"\{\{\s*(" + FIELD_PATTERN.strip("^$") + r")\s*\}\}")


@dataclass(frozen=True)
class AgentSettings:
    """The parameters of a KaizenAgent node, fixed by its release. Nothing a caller sends reaches them."""

    instructions: str
    model_profile: str = "default"
    temperature: float | None = None
    max_tokens: int | None = None
    memory: bool = False
    answer_schema: dict[str, Any] | None = None
    answer_validator: Validator | None = None
    tools: tuple[Tool, ...] = ()
    max_steps: int = DEFAULT_STEPS
    max_total_tokens: int | None = None
    max_seconds: float | None = None
    client_tools: bool = False

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> AgentSettings:
        """Read the parameters of a checked release."""
        schema = parameters.get("answer_schema")
        prepared = {
            "answer_validator": None if schema is None else compile_schema(schema),
            "tools": parse_tools(parameters.get("tools", [])),
        }
        return cls(**{**parameters, **prepared})


async def answer(settings: AgentSettings, call: Call, connected: Mapping[str, Any]) -> dict[str, Any]:
    """Work with the model until it has answered, and return the node's outputs.

    Args:
        settings: the node's parameters.
        call: this execution's share for the node.
        connected: values that flow in from other nodes, by input name.

    Raises:
        GatewayError: the model failed, a limit of the node was reached, or the answer breaks the node's schema.
    """
    values = {**call.values, **connected}
    question = Message("user", user_text(values))
    limit = asyncio.timeout(settings.max_seconds)
    try:
        async with limit:
            text, parsed = await _answered(settings, call, render(settings.instructions, values), question)
    except TimeoutError:
        if not limit.expired():
            raise
        raise GatewayError(ErrorCode.TIMED_OUT, f"the agent did not end within {settings.max_seconds:g} s") from None
    if not call.client_calls:
        call.exchange = [question, Message("assistant", text)]
    return {"text": text, "answer": parsed, "usage": (call.usage or Usage()).to_json()}


async def _answered(settings: AgentSettings, call: Call, instructions: str, question: Message) -> tuple[str, Any]:
    said = [*call.history, question, *call.turn.continuation]
    if not settings.tools:
        return await Dialogue(settings, call, [Message("system", instructions), *said]).answer()
    async with call.open_tools(settings.tools) as toolbox:
        system = Message("system", "\n\n".join([instructions, *toolbox.missing]))
        return await Dialogue(settings, call, [system, *said], toolbox).answer()


def render(instructions: str, values: Mapping[str, Any]) -> str:
    """Replace ``{{name}}`` by the value of that name; what is no known name stays as it is.

    One pass, so that a caller's value that itself looks like a variable is not replaced again.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        return _text(values[name]) if name in values else match.group(0)

    return _VARIABLE.sub(value_of, instructions)


def user_text(values: Mapping[str, Any]) -> str:
    """What the model hears from the caller: `message`, or else a readable list of the inputs."""
    if MESSAGE_INPUT in values:
        return _text(values[MESSAGE_INPUT])
    lines = [f"{name}: {_text(value)}" for name, value in values.items() if value is not None]
    return "\n".join(lines) or "(no input)"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
