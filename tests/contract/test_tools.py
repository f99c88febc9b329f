"""The tools of an agent: what a release may say of them, and which place is named when it may not."""

from __future__ import annotations

from typing import Any

import pytest

from contract.agents import agent_interface
from contract.errors import ContractError
from contract.release import Node, Release, Subject, Workflow
from contract.tools import HttpTool, McpTools, RegistrationTool, parse_tools

ID = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "note": {"type": "string"}}}
HTTP: dict[str, Any] = {
    "type": "http",
    "name": "order",
    "description": "Looks an order up.",
    "url": "https://crm.example/orders/{id}?v={id}",
    "arguments": ID,
}
MCP: dict[str, Any] = {"type": "mcp", "name": "docs", "url": "https://docs.example/mcp", "tools": ["search", "a.b/c"]}
REGISTRATION: dict[str, Any] = {"type": "registration", "name": "expert", "agent": "the-expert"}


def release_with(parameters: dict[str, Any], inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The release of an agent with these parameters."""
    node = Node(id="agent", type="KaizenAgent", parameters={"instructions": "Help.", **parameters})
    built = Release.model_construct(
        format="kaizen.release/1",
        subject=Subject(kind="agent", slug="helper", version=1),
        workflow=Workflow(nodes=[node]),
        interface=agent_interface(inputs),
    )
    return built.to_json()


def test_all_kinds_are_read() -> None:
    http, mcp, registration = parse_tools([HTTP, MCP, REGISTRATION])
    assert isinstance(http, HttpTool)
    assert not http.sends_json
    assert isinstance(mcp, McpTools)
    assert mcp.names == ["docs__search", "docs__a_b_c"]
    assert isinstance(registration, RegistrationTool)
    assert Release.parse(release_with({"tools": [HTTP, MCP, REGISTRATION], "max_steps": 3})).to_json()


@pytest.mark.parametrize(
    ("tool", "where"),
    [
        ({}, "[0]"),
        ({"type": "shell", "name": "x"}, "[0]"),
        ({**HTTP, "name": "or der"}, "[0].name"),
        ({**HTTP, "description": ""}, "[0].description"),
        ({**HTTP, "surprise": 1}, "[0].surprise"),
        ({**HTTP, "method": "TRACE"}, "[0].method"),
        ({**HTTP, "timeout_s": 121}, "[0].timeout_s"),
        ({**HTTP, "arguments": {"type": "array"}}, "[0].arguments.type"),
        ({**HTTP, "arguments": {"type": "object", "$ref": "https://evil.example/x"}}, "[0].arguments"),
        ({**HTTP, "arguments": {**ID, "required": []}}, "[0].url"),
        ({**HTTP, "send_as": "json"}, "[0].send_as"),
        *(
            ({**HTTP, "url": url}, "[0].url")
            for url in (
                "ftp://crm.example/", "crm.example", "https://", "https://{id}/", "https://{id}.crm.example/",
                "https://crm.example:{id}/", "https://u:p@crm.example/", "https://crm.example/{other}",
                "https://crm.example/a b", "https://crm.example/\\x", "https://crm.example/#x", "https://crm.example/ä",
                "https://crm.example:99999/", "{id}", "https://crm.example/{id", "https://crm.example/\r\nX: y",
            )
        ),
        ({**HTTP, "headers": [{"name": "Host", "value": "x"}]}, "[0].headers[0].name"),
        ({**HTTP, "headers": [{"name": "Content-Length", "value": "1"}]}, "[0].headers[0].name"),
        ({**HTTP, "headers": [{"name": "Cookie", "value": "a=b"}]}, "[0].headers[0].name"),
        ({**HTTP, "headers": [{"name": "X y", "value": "x"}]}, "[0].headers[0].name"),
        ({**HTTP, "headers": [{"name": "X", "value": "a\r\nY: b"}]}, "[0].headers[0].value"),
        ({**HTTP, "headers": [{"name": "X", "value": "{secret}"}]}, "[0].headers[0].value"),
        ({**HTTP, "headers": [{"name": "X", "value": "Bearer", "secret": "crm"}]}, "[0].headers[0].value"),
        ({**HTTP, "headers": [{"name": "X", "secret": "Not A Name"}]}, "[0].headers[0].secret"),
        ({**MCP, "tools": []}, "[0].tools"),
        ({**MCP, "tools": ["x" * 80]}, "[0].tools[0]"),
        ({**MCP, "tools": ["a.b", "a_b"]}, ""),
        ({**MCP, "url": "stdio:server"}, "[0].url"),
        ({**REGISTRATION, "agent": "the_expert"}, "[0].agent"),
        ({**REGISTRATION, "agent": "../x"}, "[0].agent"),
    ],
)  # fmt: skip
def test_each_violation_names_its_place(tool: dict[str, Any], where: str) -> None:
    with pytest.raises(ContractError) as caught:
        Release.parse(release_with({"tools": [tool]}))
    assert caught.value.path == f"workflow.nodes[0].parameters.tools{where}"


def test_names_are_unique_and_tools_are_bounded() -> None:
    with pytest.raises(ContractError, match="two tools have the name 'order'"):
        parse_tools([HTTP, {**REGISTRATION, "name": "order"}])
    with pytest.raises(ContractError, match="at most 64 tools; these are 65"):
        parse_tools([{**MCP, "tools": [f"t{number}" for number in range(65)]}])


@pytest.mark.parametrize("name", ["tools", "max_steps", "max_total_tokens", "max_seconds"])
def test_a_release_from_before_there_were_tools_stays_valid(name: str) -> None:
    inputs = {"type": "object", "properties": {"message": {"type": "string"}, name: {"type": "string"}}}
    stored = Release.parse(release_with({}, inputs))
    assert Release.parse(stored.canonical).digest == stored.digest


@pytest.mark.parametrize("name", ["instructions", "model_profile", "answer_schema"])
def test_other_parameters_are_still_no_inputs(name: str) -> None:
    inputs = {"type": "object", "properties": {"message": {"type": "string"}, name: {"type": "string"}}}
    with pytest.raises(ContractError, match="is no input"):
        Release.parse(release_with({}, inputs))
