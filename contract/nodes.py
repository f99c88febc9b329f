"""The catalogue of node types: everything a release may contain, and nothing else runs on a gateway.

kailash ships nodes that run Python, SQL, shell and HTTP; none of them is a sandbox. So the catalogue is an allowlist.
Studio generates its builder's declarations from it, and a gateway checks every release against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from contract.names import FIELD_PATTERN, PROFILE_PATTERN
from contract.tools import MAX_TOOLS

KAIZEN_AGENT = "KaizenAgent"
TEMPLATE = "Template"
MAX_OUTPUT_TOKENS = 128_000
DEFAULT_STEPS = 8


@dataclass(frozen=True)
class Port:
    """A named value that flows into or out of a node."""

    name: str
    type: str
    """Its JSON type."""
    description: str
    required: bool = False


@dataclass(frozen=True)
class NodeType:
    """A type of node: what its author sets, what flows in at run time, what flows out.

    Attributes:
        parameters: JSON Schema (an object) of what the author of a release sets; callers can never touch these.
        inputs: the ports that bindings and connections may target.
        open_inputs: whether further inputs of any name are accepted (an agent's template variables), as long as the
            name is no parameter's.
        outputs: the ports that connections and the interface may read.
        later_parameters: parameters that came after the first releases. An older release may have an input of such a
            name, and must stay what it is.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    open_inputs: bool = False
    later_parameters: frozenset[str] = frozenset()

    def accepts_input(self, name: str) -> bool:
        """Whether a binding or a connection may target this input. A parameter is never one."""
        if name in self.parameters["properties"] and name not in self.later_parameters:
            return False
        return self.open_inputs or any(port.name == name for port in self.inputs)

    def has_output(self, name: str) -> bool:
        """Whether the node has an output port of this name."""
        return any(port.name == name for port in self.outputs)


_AGENT_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["instructions"],
    "properties": {
        "instructions": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100_000,
            "description": "The system prompt; {{name}} stands for the input of that name.",
        },
        "model_profile": {
            "type": "string",
            "pattern": PROFILE_PATTERN,
            "maxLength": 48,
            "default": "default",
            "description": "A profile of the gateway's own configuration: endpoint, model and credential.",
        },
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "max_tokens": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_OUTPUT_TOKENS,
            "description": "The most tokens of one answer.",
        },
        "memory": {
            "type": "boolean",
            "default": False,
            "description": "Whether the agent sees the earlier messages of the caller's session.",
        },
        "answer_schema": {
            "type": "object",
            "description": "JSON Schema of the answer; the model is asked for JSON, which is parsed and checked.",
        },
        "tools": {
            "type": "array",
            "maxItems": MAX_TOOLS,
            "items": {"type": "object"},
            "description": "What the model may call while it works on its answer: see contract/tools.py.",
        },
        "max_steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": 50,
            "default": DEFAULT_STEPS,
            "description": "How often the model is asked at most; with the last one it must answer without tools.",
        },
        "max_total_tokens": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10_000_000,
            "description": "The most tokens of all steps together, those that go in and those that come out.",
        },
        "max_seconds": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 600,
            "description": "How long the agent may take, tools included.",
        },
        "client_tools": {
            "type": "boolean",
            "default": False,
            "description": "Whether callers of the OpenAI-compatible channel may bring tools that they run themselves.",
        },
    },
}

_TEMPLATE_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["template"],
    "properties": {
        "template": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100_000,
            "description": "The text; {{name}} stands for the input of that name.",
        },
    },
}

CATALOGUE: MappingProxyType[str, NodeType] = MappingProxyType(
    {
        node.name: node
        for node in (
            NodeType(
                name=KAIZEN_AGENT,
                description="A language model with instructions: one message in, one answer out.",
                parameters=_AGENT_PARAMETERS,
                inputs=(Port("message", "string", "What the caller says to the agent."),),
                open_inputs=True,
                later_parameters=frozenset({"tools", "max_steps", "max_total_tokens", "max_seconds", "client_tools"}),
                outputs=(
                    Port("text", "string", "The model's answer."),
                    Port("answer", "object", "The answer as JSON, where the node has an answer_schema."),
                    Port("usage", "object", "Tokens spent: input_tokens and output_tokens."),
                ),
            ),
            NodeType(
                name=TEMPLATE,
                description="A text with blanks: puts its inputs in, and asks no model.",
                parameters=_TEMPLATE_PARAMETERS,
                inputs=(),
                open_inputs=True,
                outputs=(Port("text", "string", "The text with its blanks filled in."),),
            ),
        )
    }
)
"""Node types by name. To add one, add it here and its implementation in the gateway."""

INPUT_NAME_PATTERN = FIELD_PATTERN
