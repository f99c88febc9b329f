"""From a release to what executes it: its nodes, and the kailash workflow that Nexus knows it by."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from kailash.workflow.graph import Workflow

from contract.nodes import KAIZEN_AGENT, TEMPLATE
from gateway_service.nodes.kaizen_agent import KaizenAgent
from gateway_service.nodes.template_node import TemplateNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kailash.nodes.base_async import AsyncNode

    from contract.release import Release

NODE_CLASSES = {KAIZEN_AGENT: KaizenAgent, TEMPLATE: TemplateNode}
"""What a node type of the catalogue runs as. kailash's own registry of nodes is never asked."""


def build_nodes(release: Release) -> dict[str, AsyncNode]:
    """The nodes of a checked release, by id."""
    return {node.id: NODE_CLASSES[node.type](node.parameters) for node in release.workflow.nodes}


def build_workflow(release: Release, registration_id: str, nodes: Mapping[str, AsyncNode]) -> Workflow:
    """Build the workflow of a checked release.

    Args:
        release: what to build.
        registration_id: becomes the workflow's id; unique, since kailash caches its plan by it for ever.
        nodes: its nodes, by id.
    """
    workflow = Workflow(workflow_id=registration_id, name=registration_id)
    for node_id, node in nodes.items():
        workflow.add_node(node_id, node)
    mappings: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for connection in release.workflow.connections:
        mappings[connection.from_node, connection.to_node][connection.from_output] = connection.to_input
    for (source, target), mapping in mappings.items():
        workflow.connect(source, target, mapping)
    return workflow
