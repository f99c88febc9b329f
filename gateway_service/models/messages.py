"""The values that travel to and from a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ToolDefinition:
    """A tool as a model is told of it; `arguments` is the JSON Schema of an object."""

    name: str
    description: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to use a tool.

    Attributes:
        call_id: the model's name for this call; the result refers to it.
        arguments: JSON, as the model wrote it: it may be broken.
    """

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: system, user, assistant or tool.
        tool_calls: what an assistant wanted to use.
        call_id: which of the calls a tool's message answers.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens, as the model's provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)

    def to_json(self) -> dict[str, int]:
        """As callers see it."""
        return {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


@dataclass(frozen=True)
class ChatRequest:
    """One question to a model.

    Attributes:
        profile: the name of the gateway's model profile.
        answer_schema: the JSON Schema the answer shall satisfy; None for plain text.
        tools: what the model may call.
        may_call: whether it may do so now; the tools are told anyway, since the conversation speaks of them.
    """

    profile: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    answer_schema: dict[str, Any] | None = None
    tools: tuple[ToolDefinition, ...] = ()
    may_call: bool = True


@dataclass(frozen=True)
class Answer:
    """What the model said, whole.

    Attributes:
        tool_calls: what it wants to use before it goes on.
        profile: the gateway's model profile that answered, which a fallback may have made another than was asked.
    """

    text: str
    usage: Usage
    finish_reason: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    profile: str = ""


@dataclass(frozen=True)
class ClientTurn:
    """What a client that runs tools itself brings along besides its question.

    Attributes:
        tools: its tools.
        may_call: whether the model may call them in this turn.
        parallel: whether it may call several at once.
        continuation: what came after the question: the model's calls of these tools, and their results.
    """

    tools: tuple[ToolDefinition, ...] = ()
    may_call: bool = True
    parallel: bool = True
    continuation: tuple[Message, ...] = ()

    def calls_of(self, answer: Answer) -> tuple[ToolCall, ...]:
        """The calls of an answer that are the client's to do."""
        names = {tool.name for tool in self.tools} if self.may_call else set()
        calls = tuple(call for call in answer.tool_calls if call.name in names)
        return calls if self.parallel else calls[:1]


NO_CLIENT_TOOLS = ClientTurn()
