"""What an agent *is*: the part of its draft that a version freezes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

from contract.agents import DEFAULT_INPUTS
from contract.canonical import digest_of

DEFAULT_PROFILE = "default"
DEFAULT_TEMPERATURE = 0.7
DEFAULT_MAX_TOKENS = 1024


def default_input_schema() -> dict[str, Any]:
    """The input schema of a new agent: an object with a required `message`."""
    return deepcopy(DEFAULT_INPUTS)


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything of an agent that can be published. Two equal definitions make the same agent.

    Attributes:
        instructions: the system prompt; `{{name}}` stands for the input of that name.
        model_profile: which of the gateway's configured models answers.
        temperature: 0 (the same words every time) to 2.
        max_tokens: the most tokens of one answer.
        memory: whether the agent sees the earlier messages of a caller's session.
        input_schema: JSON Schema (an object) of what callers send.
        output_schema: JSON Schema (an object) of the answer, or None for plain text.
    """

    NAMES: ClassVar[tuple[str, ...]]

    name: str
    instructions: str
    description: str = ""
    model_profile: str = DEFAULT_PROFILE
    temperature: float = DEFAULT_TEMPERATURE
    max_tokens: int = DEFAULT_MAX_TOKENS
    memory: bool = False
    input_schema: dict[str, Any] = field(default_factory=default_input_schema)
    output_schema: dict[str, Any] | None = None

    @classmethod
    def read(cls, source: object) -> Definition:
        """The definition that a row (an agent's draft) holds in attributes of the same names."""
        return cls(**{name: getattr(source, name) for name in cls.NAMES})

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Definition:
        """The definition behind a version's content. What a later release of Studio adds takes its default."""
        return cls(**{name: value for name, value in content.items() if name in cls.NAMES})

    def members(self) -> dict[str, Any]:
        """Its members by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    def to_json(self) -> dict[str, Any]:
        """The definition as JSON values that share nothing with it."""
        return asdict(self)

    def replaced(self, **members: Any) -> Definition:
        """The definition with other values for some of its members."""
        return replace(self, **members)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON: equal for equal definitions, on every machine."""
        return digest_of(self.to_json())


Definition.NAMES = tuple(each.name for each in fields(Definition))
