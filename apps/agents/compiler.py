"""From a version to the release that gateways run: the same version gives the same bytes, on every machine.

The graph is built with kailash's own builder, so that what Studio releases is a graph that kailash accepts. What the
builder stamps on it (a random id, a name, the time) is left behind: a release is named by its content.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from apps.agents.nodes import declarations
from contract.agents import AGENT_NODE_ID, agent_interface
from contract.document import contract_error
from contract.nodes import KAIZEN_AGENT
from contract.release import Connection, Node, Release, Subject, Workflow

if TYPE_CHECKING:
    from apps.agents.definitions import Definition
    from apps.agents.models import AgentVersion


def compile_version(version: AgentVersion) -> Release:
    """The release of a version.

    Raises:
        ContractError: the version breaks the contract, which `apps.agents.checks` rules out when a draft is saved.
    """
    subject = Subject(kind="agent", slug=version.agent.slug, version=version.number)
    definition = version.definition
    return release_of(definition, subject, built(agent_workflow(definition)))


def agent_workflow(definition: Definition) -> Workflow:
    """The graph of a single agent: one node with what its author set."""
    parameters: dict[str, Any] = {
        "instructions": definition.instructions,
        "model_profile": definition.model_profile,
        "temperature": definition.temperature,
        "max_tokens": definition.max_tokens,
        "memory": definition.memory,
    }
    if definition.output_schema is not None:
        parameters["answer_schema"] = definition.output_schema
    return Workflow(nodes=[Node(id=AGENT_NODE_ID, type=KAIZEN_AGENT, parameters=parameters)])


def built(workflow: Workflow) -> Workflow:
    """The graph as kailash's builder makes it, without what is random and in an order of its own.

    Raises:
        kailash.sdk_exceptions.WorkflowValidationError: kailash refuses the graph.
    """
    from kailash.workflow.builder import WorkflowBuilder  # 1 s to import, and only compiling needs it

    declarations()
    builder = WorkflowBuilder()
    for node in workflow.nodes:
        builder.add_node(node.type, node.id, dict(node.parameters))
    for edge in workflow.connections:
        builder.add_connection(edge.from_node, edge.from_output, edge.to_node, edge.to_input)
    graph = builder.build().to_dict()
    nodes = [Node(id=name, type=node["node_type"], parameters=node["config"]) for name, node in graph["nodes"].items()]
    connections = [
        Connection(
            from_node=edge["source_node"],
            from_output=edge["source_output"],
            to_node=edge["target_node"],
            to_input=edge["target_input"],
        )
        for edge in graph["connections"]
    ]
    return Workflow(
        nodes=sorted(nodes, key=lambda node: node.id),
        connections=sorted(
            connections, key=lambda edge: (edge.from_node, edge.from_output, edge.to_node, edge.to_input)
        ),
    )


def release_of(definition: Definition, subject: Subject, workflow: Workflow) -> Release:
    """The release of a definition whose graph is built; every rule of the contract is checked.

    Raises:
        ContractError: a rule is broken; its path names the place in the release.
    """
    try:
        interface = agent_interface(definition.input_schema, definition.output_schema).model_dump()
    except ValidationError as error:
        broken = contract_error(error)
        broken.path = f"interface.{broken.path}".rstrip(".")
        raise broken from None
    # By name, because the database keeps the members of a schema in an order of its own.
    interface["bindings"].sort(key=itemgetter("input"))
    return Release.parse(
        {
            "format": "kaizen.release/1",
            "subject": subject.model_dump(),
            "workflow": workflow.model_dump(),
            "interface": interface,
            "metadata": {"title": definition.name, "description": definition.description},
        }
    )
