"""The release: what an agent's or a workflow's version compiles to, and the whole of what a gateway runs."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from contract.document import Document, Part
from contract.errors import ContractError, NodeForbidden
from contract.names import FIELD_PATTERN, NODE_ID_PATTERN, SLUG_MAX_LENGTH, SLUG_PATTERN
from contract.nodes import CATALOGUE, MAX_OUTPUT_TOKENS, NodeType
from contract.schemas import check_schema, compile_schema, first_violation
from contract.tools import parse_tools

MAX_NODES = 200
MAX_CONNECTIONS = 1_000
MAX_FIELDS = 200
MAX_TIMEOUT_S = 600.0

NodeId = Annotated[str, Field(pattern=NODE_ID_PATTERN)]
FieldName = Annotated[str, Field(pattern=FIELD_PATTERN)]


class Subject(Part):
    """Which version of what this release was compiled from."""

    kind: Literal["agent", "workflow"]
    slug: Annotated[str, Field(pattern=SLUG_PATTERN, max_length=SLUG_MAX_LENGTH)]
    version: Annotated[int, Field(ge=1)]


class Node(Part):
    """One node of the graph; `type` is a name in the catalogue."""

    id: NodeId
    type: Annotated[str, Field(max_length=100)]
    parameters: dict[str, Any] = Field(default_factory=dict)


class Connection(Part):
    """An output of one node flowing into an input of another."""

    from_node: NodeId
    from_output: FieldName
    to_node: NodeId
    to_input: FieldName


class Workflow(Part):
    """The graph, without anything random: no id, no name, no time of creation."""

    nodes: Annotated[list[Node], Field(min_length=1, max_length=MAX_NODES)]
    connections: Annotated[list[Connection], Field(max_length=MAX_CONNECTIONS)] = Field(default_factory=list)


class Binding(Part):
    """A declared input of the interface that flows into an input of one node. Nothing else of a request does."""

    input: FieldName
    node: NodeId
    parameter: FieldName


class Output(Part):
    """A member of the answer's `outputs`, read from one node's output."""

    name: FieldName
    node: NodeId
    output: FieldName


class Interface(Part):
    """How callers see the release.

    Attributes:
        inputs: JSON Schema of the request's `inputs` object; fields it does not name are refused.
        output_schema: JSON Schema of the answer's `outputs` object; an answer that breaks it is never sent.
    """

    inputs: dict[str, Any]
    bindings: Annotated[list[Binding], Field(max_length=MAX_FIELDS)] = Field(default_factory=list)
    outputs: Annotated[list[Output], Field(min_length=1, max_length=MAX_FIELDS)]
    output_schema: dict[str, Any] | None = None


class Limits(Part):
    """What one execution may take.

    Attributes:
        timeout_s: seconds until an execution ends with `timed_out`.
        max_tokens: upper bound of the tokens of any one answer of a model, whatever its node says.
    """

    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 60.0
    max_tokens: Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS)] | None = None


class Metadata(Part):
    """What people and MCP clients read about the release."""

    title: Annotated[str, Field(max_length=200)] = ""
    description: Annotated[str, Field(max_length=4_000)] = ""


class Release(Document):
    """An immutable, content-addressed release. Everything that can be checked without a model is checked on parsing."""

    max_bytes: ClassVar[int] = 1_000_000

    format: Literal["kaizen.release/1"] = "kaizen.release/1"
    subject: Subject
    workflow: Workflow
    interface: Interface
    limits: Limits = Field(default_factory=Limits)
    metadata: Metadata = Field(default_factory=Metadata)

    @model_validator(mode="after")
    def _is_runnable(self) -> Release:
        types = _check_nodes(self.workflow)
        _check_connections(self.workflow, types)
        _check_acyclic(self.workflow)
        _check_interface(self.interface, types)
        _check_single_source(self.workflow, self.interface)
        return self


def _check_nodes(workflow: Workflow) -> dict[str, NodeType]:
    types: dict[str, NodeType] = {}
    for index, node in enumerate(workflow.nodes):
        path = f"workflow.nodes[{index}]"
        if node.id in types:
            raise ContractError(f"the node id {node.id!r} is used twice", f"{path}.id")
        node_type = CATALOGUE.get(node.type)
        if node_type is None:
            known = ", ".join(CATALOGUE)
            raise NodeForbidden(f"gateways do not run nodes of type {node.type!r}; known: {known}", f"{path}.type")
        violation = first_violation(compile_schema(node_type.parameters), node.parameters)
        if violation:
            raise ContractError(violation.reason, f"{path}.parameters.{violation.path}".rstrip("."))
        if "answer_schema" in node.parameters:
            check_schema(node.parameters["answer_schema"], f"{path}.parameters.answer_schema")
        if "tools" in node.parameters:
            _check_tools(node.parameters["tools"], f"{path}.parameters.tools")
        types[node.id] = node_type
    return types


def _check_tools(tools: list[dict[str, Any]], path: str) -> None:
    try:
        parse_tools(tools)
    except ContractError as error:
        separator = "" if error.path.startswith("[") or not error.path else "."
        raise ContractError(error.reason, path + separator + error.path) from None


def _check_connections(workflow: Workflow, types: dict[str, NodeType]) -> None:
    wires: set[tuple[str, str, str]] = set()
    for index, connection in enumerate(workflow.connections):
        path = f"workflow.connections[{index}]"
        source = _node_type(types, connection.from_node, f"{path}.from_node")
        target = _node_type(types, connection.to_node, f"{path}.to_node")
        _require_output(source, connection.from_output, f"{path}.from_output")
        _require_input(target, connection.to_input, f"{path}.to_input")
        wire = (connection.from_node, connection.from_output, connection.to_node)
        if wire in wires:
            # kailash keeps one target per output and pair of nodes; a second would silently replace the first.
            raise ContractError("the output flows into this node already", path)
        wires.add(wire)


def _check_acyclic(workflow: Workflow) -> None:
    graph: dict[str, set[str]] = {node.id: set() for node in workflow.nodes}
    for connection in workflow.connections:
        graph[connection.to_node].add(connection.from_node)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise ContractError(f"the graph has a cycle: {' -> '.join(error.args[1])}", "workflow.connections") from None


def _check_interface(interface: Interface, types: dict[str, NodeType]) -> None:
    schema = check_schema(interface.inputs, "interface.inputs")
    if schema.get("type") != "object":
        raise ContractError("must be the schema of an object", "interface.inputs.type")
    declared = schema.get("properties", {})
    for index, binding in enumerate(interface.bindings):
        path = f"interface.bindings[{index}]"
        if binding.input not in declared:
            raise ContractError(f"{binding.input!r} is no property of interface.inputs", f"{path}.input")
        _require_input(_node_type(types, binding.node, f"{path}.node"), binding.parameter, f"{path}.parameter")
    unbound = sorted(set(declared) - {binding.input for binding in interface.bindings})
    if unbound:
        raise ContractError("is bound to no node, so callers would set it in vain", f"interface.inputs.{unbound[0]}")
    _check_outputs(interface, types)


def _check_outputs(interface: Interface, types: dict[str, NodeType]) -> None:
    names: set[str] = set()
    for index, output in enumerate(interface.outputs):
        path = f"interface.outputs[{index}]"
        if output.name in names:
            raise ContractError(f"the output {output.name!r} is declared twice", f"{path}.name")
        _require_output(_node_type(types, output.node, f"{path}.node"), output.output, f"{path}.output")
        names.add(output.name)
    if interface.output_schema is not None:
        check_schema(interface.output_schema, "interface.output_schema")


def _check_single_source(workflow: Workflow, interface: Interface) -> None:
    targets = Counter((binding.node, binding.parameter) for binding in interface.bindings)
    targets.update((connection.to_node, connection.to_input) for connection in workflow.connections)
    for (node, name), count in targets.items():
        if count > 1:
            raise ContractError(f"the input {name!r} of node {node!r} has {count} sources; it can have one", "workflow")


def _node_type(types: dict[str, NodeType], node_id: str, path: str) -> NodeType:
    if node_id not in types:
        raise ContractError(f"there is no node {node_id!r}", path)
    return types[node_id]


def _require_input(node_type: NodeType, name: str, path: str) -> None:
    if not node_type.accepts_input(name):
        raise ContractError(f"{name!r} is no input of {node_type.name}; parameters are set by the release only", path)


def _require_output(node_type: NodeType, name: str, path: str) -> None:
    if not node_type.has_output(name):
        raise ContractError(f"{name!r} is no output of {node_type.name}", path)
