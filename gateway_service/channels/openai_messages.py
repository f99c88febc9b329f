"""The messages and tools of a request for a chat completion, read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from contract.errors import ErrorCode
from contract.tools import MAX_TOOLS
from gateway_service.errors import GatewayError
from gateway_service.models.messages import ClientTurn, Message, ToolCall, ToolDefinition

_ROLES = {"system": "user", "developer": "user", "user": "user", "assistant": "assistant", "tool": "tool"}
"""Each role of the protocol, and what the agent hears it as."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Conversation:
    """What was said.

    Attributes:
        question: the last message of the user.
        continuation: what came after it: calls of the client's tools, and their results.
        first_of_tools: the index of the first message that speaks of tools; None if none does.
    """

    history: tuple[Message, ...]
    question: Message
    continuation: tuple[Message, ...]
    first_of_tools: int | None


def invalid(path: str, reason: str) -> GatewayError:
    """The error of a member."""
    return GatewayError(ErrorCode.INVALID_INPUT, f"{path} {reason}", path=path)


def read_messages(messages: Any) -> Conversation:
    """Read the member `messages`.

    Raises:
        GatewayError: a message is malformed, or the question or the result of a call is missing.
    """
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "must be a list of at least one message")
    read = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    last = len(messages) - 1
    if messages[last]["role"] not in ("user", "tool"):
        raise invalid(f"messages[{last}].role", "must be 'user' or 'tool': a question, or the result of a call")
    asked = max((index for index, each in enumerate(messages) if each["role"] == "user"), default=None)
    if asked is None:
        raise invalid("messages", "must hold a question: a message of the role 'user'")
    _check_results(read)
    of_tools = (index for index, each in enumerate(read) if each.role == "tool" or each.tool_calls)
    return Conversation(tuple(read[:asked]), read[asked], tuple(read[asked + 1 :]), next(of_tools, None))


def read_turn(body: dict[str, Any], messages: Conversation) -> ClientTurn:
    """Read the members `tools`, `tool_choice` and `parallel_tool_calls`.

    Raises:
        GatewayError: one is malformed, or asks for what is not offered.
    """
    tools = body.get("tools") or []
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise invalid("tools", f"must be a list of at most {MAX_TOOLS} tools")
    definitions = tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    names = [each.name for each in definitions]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise invalid(f"tools[{index}].function.name", "is used twice")
    choice = body.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise invalid("tool_choice", "must be 'auto' or 'none': the agent decides what it calls")
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise invalid("parallel_tool_calls", "must be true or false")
    return ClientTurn(definitions, choice != "none", parallel is not False, messages.continuation)


def _message(message: Any, path: str) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise invalid(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
    if role == "tool":
        call_id = _required_text(message.get("tool_call_id"), f"{path}.tool_call_id")
        return Message("tool", _text(message.get("content"), f"{path}.content"), call_id=call_id)
    if role == "assistant" and message.get("tool_calls"):
        calls = _calls(message["tool_calls"], f"{path}.tool_calls")
        content = message.get("content")
        return Message("assistant", _text(content, f"{path}.content") if content else "", calls)
    return Message(_ROLES[role], _text(message.get("content"), f"{path}.content"))


def _text(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        return "".join(_part(part, f"{path}[{index}]") for index, part in enumerate(content))
    raise invalid(path, "must be text")


def _part(part: Any, path: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise invalid(path, "must be a part of type 'text'")
    return text


def _calls(calls: Any, path: str) -> tuple[ToolCall, ...]:
    if not isinstance(calls, list):
        raise invalid(path, "must be a list")
    return tuple(_call(call, f"{path}[{index}]") for index, call in enumerate(calls))


def _call(call: Any, path: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise invalid(f"{path}.function", "must be an object with a name and arguments")
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        raise invalid(f"{path}.function.arguments", "must be JSON as text")
    call_id = _required_text(call.get("id"), f"{path}.id")
    return ToolCall(call_id, _required_text(function.get("name"), f"{path}.function.name"), arguments)


def _required_text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(path, "must be text")
    return value


def _check_results(messages: list[Message]) -> None:
    """Refuse results without their call, and calls without their results: models stumble over both."""
    awaited: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id not in awaited:
                raise invalid(f"messages[{index}].tool_call_id", "answers no call of the message before")
            awaited.remove(message.call_id)
            continue
        if awaited:
            raise invalid(f"messages[{index}]", f"comes before the result of the call {min(awaited)[:80]!r}")
        awaited = {call.call_id for call in message.tool_calls}
    if awaited:
        raise invalid("messages", f"lack the result of the call {min(awaited)[:80]!r}")


def _tool(tool: Any, path: str) -> ToolDefinition:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise invalid(path, "must be of type 'function'")
    name, description = function.get("name"), function.get("description") or ""
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise invalid(f"{path}.function.name", "must be 1 to 64 letters, digits, underscores and hyphens")
    if not isinstance(description, str):
        raise invalid(f"{path}.function.description", "must be text")
    arguments = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(arguments, dict):
        raise invalid(f"{path}.function.parameters", "must be the JSON Schema of an object")
    return ToolDefinition(name, description, arguments)
