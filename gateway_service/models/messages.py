"""The values that travel to and from a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


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
    """

    profile: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    answer_schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said, whole."""

    text: str
    usage: Usage
    finish_reason: str = "stop"
