"""From a release to a kailash workflow."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from kailash.workflow.graph import Workflow

from contract.nodes import KAIZEN_AGENT
from gateway_service.nodes.kaizen_agent import KaizenAgent

if TYPE_CHECKING:
    from contract.release import Release

NODE_CLASSES = {KAIZEN_AGENT: KaizenAgent}
"""What a node type of the catalogue runs as. kailash's own registry of nodes is never asked."""


def build_workflow(release: Release, registration_id: str) -> Workflow:
    """Build the workflow of a checked release.

    Args:
        release: what to build.
        registration_id: becomes the workflow's id; unique, since kailash caches its plan by it for ever.
    """
    workflow = Workflow(workflow_id=registration_id, name=registration_id)
    for node in release.workflow.nodes:
        workflow.add_node(node.id, NODE_CLASSES[node.type](node.parameters))
    mappings: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for connection in release.workflow.connections:
        mappings[connection.from_node, connection.to_node][connection.from_output] = connection.to_input
    for (source, target), mapping in mappings.items():
        workflow.connect(source, target, mapping)
    return workflow
