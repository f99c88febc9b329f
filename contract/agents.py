"""How a single agent presents itself: the interface of a release with one `KaizenAgent` node."""

from __future__ import annotations

from typing import Any

from contract.release import Binding, Interface, Output

AGENT_NODE_ID = "agent"

DEFAULT_INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string", "minLength": 1, "description": "What you say to the agent."}},
}
"""The input schema of an agent whose author declares none."""


def agent_interface(inputs: dict[str, Any] | None = None, answer_schema: dict[str, Any] | None = None) -> Interface:
    """The interface of an agent: every declared input reaches its node, `text` comes back.

    Args:
        inputs: the declared input schema; None means a required `message`.
        answer_schema: the node's `answer_schema`, if it has one: the parsed answer then comes back as `answer`.
    """
    schema = DEFAULT_INPUTS if inputs is None else inputs
    names = ["text"] if answer_schema is None else ["text", "answer"]
    return Interface(
        inputs=schema,
        bindings=[Binding(input=name, node=AGENT_NODE_ID, parameter=name) for name in schema.get("properties", {})],
        outputs=[Output(name=name, node=AGENT_NODE_ID, output=name) for name in names],
        output_schema=_output_schema(answer_schema),
    )


def _output_schema(answer_schema: dict[str, Any] | None) -> dict[str, Any]:
    properties: dict[str, Any] = {"text": {"type": "string"}}
    if answer_schema is None:
        return {"type": "object", "required": ["text"], "properties": properties}
    # References are written from the schema's root, so the definitions move to the new root.
    definitions = answer_schema.get("$defs")
    properties["answer"] = {key: value for key, value in answer_schema.items() if key != "$defs"}
    schema = {"type": "object", "required": ["text", "answer"], "properties": properties}
    return schema if definitions is None else {**schema, "$defs": definitions}
