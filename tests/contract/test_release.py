"""A release is checked whole before anything is signed, stored or run, and says where it is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from contract.agents import agent_interface
from contract.errors import ContractError, NodeForbidden
from contract.release import Node, Release, Subject, Workflow

AGENT: dict[str, Any] = {
    "format": "kaizen.release/1",
    "subject": {"kind": "agent", "slug": "greeter", "version": 3},
    "workflow": {
        "nodes": [{"id": "agent", "type": "KaizenAgent", "parameters": {"instructions": "Greet {{name}}."}}],
        "connections": [],
    },
    "interface": {
        "inputs": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string"}, "name": {"type": "string"}},
        },
        "bindings": [
            {"input": "message", "node": "agent", "parameter": "message"},
            {"input": "name", "node": "agent", "parameter": "name"},
        ],
        "outputs": [{"name": "text", "node": "agent", "output": "text"}],
    },
    "limits": {"timeout_s": 30},
    "metadata": {"title": "Greeter", "description": "Greets."},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """A copy of the release with one member replaced."""
    release = copy.deepcopy(AGENT)
    *steps, last = path.split("/")
    target: Any = release
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    target[int(last) if last.isdigit() else last] = value
    return release


def test_a_release_keeps_the_digest_of_what_was_received() -> None:
    release = Release.parse(AGENT)
    assert release.to_json() == AGENT
    assert Release.parse(release.canonical).digest == release.digest
    reordered = dict(reversed(AGENT.items()))
    assert Release.parse(reordered).digest == release.digest


def test_any_change_changes_the_digest() -> None:
    digests = {Release.parse(AGENT).digest}
    digests.add(Release.parse(changed("workflow/nodes/0/parameters/instructions", "Greet {{name}}!")).digest)
    digests.add(Release.parse(changed("limits/timeout_s", 31)).digest)
    digests.add(Release.parse(changed("metadata/title", "Other")).digest)
    assert len(digests) == 4


def test_a_release_built_in_python_parses_back() -> None:
    built = Release(
        subject=Subject(kind="agent", slug="greeter", version=1),
        workflow=Workflow(nodes=[Node(id="agent", type="KaizenAgent", parameters={"instructions": "Hi."})]),
        interface=agent_interface(answer_schema={"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}),
    )
    assert Release.parse(built.canonical).digest == built.digest
    assert built.interface.output_schema is not None
    assert built.interface.output_schema["$defs"] == {"n": {"type": "integer"}}


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("format", "kaizen.release/2", "format"),
        ("subject/version", 0, "subject.version"),
        ("subject/version", "3", "subject.version"),
        ("subject/slug", "Not A Slug", "subject.slug"),
        ("surprise", 1, "surprise"),
        ("workflow/nodes", [], "workflow.nodes"),
        ("workflow/nodes/0/parameters/instructions", "", "workflow.nodes[0].parameters.instructions"),
        ("workflow/nodes/0/parameters/base_url", "http://evil", "workflow.nodes[0].parameters.base_url"),
        ("workflow/nodes/0/parameters/temperature", 9, "workflow.nodes[0].parameters.temperature"),
        ("workflow/nodes/0/parameters/answer_schema", {"type": 7}, "workflow.nodes[0].parameters.answer_schema.type"),
        ("interface/inputs", {"type": "string"}, "interface.inputs.type"),
        ("interface/inputs", {"type": "object", "properties": 3}, "interface.inputs.properties"),
        ("interface/bindings/0/input", "nothing", "interface.bindings[0].input"),
        ("interface/bindings/0/node", "nobody", "interface.bindings[0].node"),
        ("interface/bindings/0/parameter", "instructions", "interface.bindings[0].parameter"),
        ("interface/bindings/0/parameter", "model_profile", "interface.bindings[0].parameter"),
        ("interface/bindings/0/parameter", "name", "workflow"),
        ("interface/bindings", [], "interface.inputs.message"),
        ("interface/outputs", [], "interface.outputs"),
        ("interface/outputs/0/output", "secret", "interface.outputs[0].output"),
        ("limits/timeout_s", 0, "limits.timeout_s"),
        ("limits/timeout_s", 10_000, "limits.timeout_s"),
    ],
)
def test_each_violation_names_its_path(path: str, value: Any, where: str) -> None:
    with pytest.raises(ContractError) as refusal:
        Release.parse(changed(path, value))
    assert refusal.value.path == where


@pytest.mark.parametrize("node_type", ["PythonCodeNode", "SQLDatabaseNode", "HTTPRequestNode", "LLMAgentNode", "agent"])
def test_only_nodes_of_the_catalogue_may_run(node_type: str) -> None:
    with pytest.raises(NodeForbidden) as refusal:
        Release.parse(changed("workflow/nodes/0/type", node_type))
    assert refusal.value.path == "workflow.nodes[0].type"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"message": {"$ref": "http://169.254.169.254/latest"}}},
        {"type": "object", "properties": {"message": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"message": {"$ref": "#/$defs/missing"}}},
        {"type": "object", "$id": "http://evil/", "properties": {"message": {}}},
        {"type": "object", "properties": {"message": {"pattern": "("}}},
    ],
)
def test_a_schema_refers_to_nothing_outside_itself(schema: dict[str, Any]) -> None:
    with pytest.raises(ContractError) as refusal:
        Release.parse(changed("interface/inputs", schema))
    assert refusal.value.path.startswith("interface.inputs")


def test_cycles_and_dangling_connections_are_refused() -> None:
    node = {"id": "second", "type": "KaizenAgent", "parameters": {"instructions": "Shorten."}}
    forth = {"from_node": "agent", "from_output": "text", "to_node": "second", "to_input": "message"}
    back = {"from_node": "second", "from_output": "text", "to_node": "agent", "to_input": "extra"}
    release = copy.deepcopy(AGENT)
    release["workflow"]["nodes"].append(node)
    release["workflow"]["connections"] = [forth]
    Release.parse(release)
    release["workflow"]["connections"] = [forth, back]
    with pytest.raises(ContractError, match="cycle"):
        Release.parse(release)
    release["workflow"]["connections"] = [{**forth, "to_node": "third"}]
    with pytest.raises(ContractError, match="third"):
        Release.parse(release)
    release["workflow"]["connections"] = [forth, {**forth, "to_input": "other"}]
    with pytest.raises(ContractError, match="already"):
        Release.parse(release)
    release["workflow"]["connections"] = [{**forth, "to_input": "instructions"}]
    with pytest.raises(ContractError, match="instructions"):
        Release.parse(release)


def test_size_depth_and_duplicate_keys_are_limited() -> None:
    with pytest.raises(ContractError, match="bytes"):
        Release.parse({**AGENT, "metadata": {"title": "x" * 1_000_001}})
    deep: Any = "x"
    for _ in range(80):
        deep = {"x": deep}
    with pytest.raises(ContractError, match="deeper"):
        Release.parse(changed("workflow/nodes/0/parameters/answer_schema", deep))
    with pytest.raises(ContractError, match="twice"):
        Release.parse(b'{"format": "a", "format": "b"}')
