"""What a KaizenAgent does, independent of the workflow engine that calls it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.canonical import strict_loads
from contract.errors import ContractError, ErrorCode
from contract.names import FIELD_PATTERN
from contract.schemas import compile_schema, first_violation
from gateway_service.errors import GatewayError
from gateway_service.models.messages import ChatRequest, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema.protocols import Validator

    from gateway_service.execution.call import Call

MESSAGE_INPUT = "message"
_VARIABLE = re.compile(r"\{\{\s*(" + FIELD_PATTERN.strip("^$") + r")\s*\}\}")
_CODE_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


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

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> AgentSettings:
        """Read the parameters of a checked release."""
        schema = parameters.get("answer_schema")
        return cls(**parameters, answer_validator=None if schema is None else compile_schema(schema))


async def answer(settings: AgentSettings, call: Call, connected: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the model once, and return the node's outputs.

    Args:
        settings: the node's parameters.
        call: this execution's share for the node.
        connected: values that flow in from other nodes, by input name.

    Raises:
        GatewayError: the model failed, or its answer breaks the node's schema.
    """
    values = {**call.values, **connected}
    question = Message("user", user_text(values))
    reply = await call.chat(_request(settings, call, values, question), call.emit)
    call.usage = reply.usage
    parsed = None if settings.answer_validator is None else _parsed(settings.answer_validator, reply.text)
    call.exchange = [question, Message("assistant", reply.text)]
    return {"text": reply.text, "answer": parsed, "usage": reply.usage.to_json()}


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


def _request(settings: AgentSettings, call: Call, values: Mapping[str, Any], question: Message) -> ChatRequest:
    system = Message("system", render(settings.instructions, values))
    bounds = [bound for bound in (settings.max_tokens, call.max_tokens) if bound is not None]
    return ChatRequest(
        profile=settings.model_profile,
        messages=(system, *call.history, question),
        temperature=settings.temperature,
        max_tokens=min(bounds, default=None),
        answer_schema=settings.answer_schema,
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parsed(validator: Validator, text: str) -> Any:
    fenced = _CODE_FENCE.match(text)
    try:
        value = strict_loads(fenced.group(1) if fenced else text)
    except ContractError as error:
        raise GatewayError(ErrorCode.INVALID_OUTPUT, f"the model's answer is {error.reason}") from None
    violation = first_violation(validator, value)
    if violation:
        path = f"answer.{violation.path}".rstrip(".")
        raise GatewayError(ErrorCode.INVALID_OUTPUT, f"the model's answer breaks its schema: {path} {violation.reason}")
    return value
