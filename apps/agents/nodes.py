"""Declarations of the node catalogue for kailash's builder.

Studio builds graphs and never runs them, so a declaration knows its parameters and refuses to be executed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from contract.nodes import CATALOGUE, NodeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kailash.nodes.base import Node, NodeParameter

_PYTHON_TYPES: dict[str, type] = {
    "string": str,
    "number": float,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
}


@cache
def declarations() -> Mapping[str, type[Node]]:
    """Every node type of the catalogue, registered with kailash, by name."""
    from kailash.nodes.base import NodeRegistry

    declared = {node_type.name: _declare(node_type) for node_type in CATALOGUE.values()}
    for name, node in declared.items():
        NodeRegistry.register(node, alias=name)
    return declared


def _declare(node_type: NodeType) -> type[Node]:
    """A node class with the parameters and ports of a catalogue entry, and no behaviour."""
    from kailash.nodes.base import Node

    parameters = _parameters(node_type)

    def get_parameters(_self: Node) -> dict[str, NodeParameter]:
        return parameters

    def run(_self: Node, **_inputs: Any) -> NoReturn:
        raise NotImplementedError(f"{node_type.name} is declared here and runs on gateways.")

    members = {"__doc__": node_type.description, "__module__": __name__, "get_parameters": get_parameters, "run": run}
    return type(node_type.name, (Node,), members)


def _parameters(node_type: NodeType) -> dict[str, NodeParameter]:
    from kailash.nodes.base import NodeParameter

    properties: dict[str, dict[str, Any]] = node_type.parameters["properties"]
    required = set(node_type.parameters.get("required", ()))
    declared = {
        name: NodeParameter(
            name=name,
            type=_PYTHON_TYPES[schema["type"]],
            required=name in required,
            description=schema.get("description", ""),
        )
        for name, schema in properties.items()
    }
    # Inputs arrive when the graph runs: none of them is required while it is being built.
    for port in node_type.inputs:
        declared[port.name] = NodeParameter(
            name=port.name, type=_PYTHON_TYPES[port.type], required=False, description=port.description
        )
    return declared
