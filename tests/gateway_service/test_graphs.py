"""Workflows of several nodes, through the callers' door."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from contract.agents import DEFAULT_INPUTS
from contract.release import Binding, Connection, Interface, Node, Output, Release, Subject, Workflow
from tests.doubles.model_server import Reply
from tests.harness.gateway import Studio, error_of, executions_of, read_events, template_release

if TYPE_CHECKING:
    from contract.caller_keys import KeyText
    from tests.doubles.model_server import ModelServer
    from tests.harness.gateway import GatewayProcess


def test_a_template_fills_its_blanks_in_and_asks_no_model(
    studio: Studio, name: str, call: Any, model: ModelServer
) -> None:
    studio.place(name, template_release("Dear {{message}}, {{ message }} and {{unknown}}."))
    answer = call({"message": "{{message}} ${message}"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["outputs"] == {"text": "Dear {{message}} ${message}, {{message}} ${message} and {{unknown}}."}
    assert body["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert not model.requests


def test_a_template_speaks_in_a_stream(gateway: GatewayProcess, studio: Studio, name: str, key: KeyText) -> None:
    studio.place(name, template_release())
    body = {"inputs": {"message": "you"}, "mode": "stream"}
    with gateway.caller(key) as client, client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
        events = read_events(answer)
    assert [event for event, _ in events] == ["started", "token", "done"]
    assert events[1][1] == {"text": "Hello you"}


def test_two_agents_side_by_side_and_a_template_behind_them(
    studio: Studio, name: str, call: Any, model: ModelServer
) -> None:
    studio.place(name, fan_in())
    answer = call({"message": "Ada"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == {"text": "1: You said: Ada; 2: You said: Ada"}
    assert answer.json()["usage"]["input_tokens"] > 0
    assert sorted(each["messages"][0]["content"] for each in model.requests) == ["First.", "Second."]
    (record,) = executions_of(studio, name, 1)
    assert record["status"] == "succeeded"
    traces = {trace["node"]: trace for trace in record["nodes"]}
    assert traces.keys() == {"first", "second", "both"}
    assert {trace["status"] for trace in traces.values()} == {"succeeded"}
    assert sum(trace["input_tokens"] for trace in traces.values()) == record["input_tokens"] > 0
    assert traces["both"]["input_tokens"] == traces["both"]["output_tokens"] == 0
    assert all(0 <= trace["duration_ms"] <= record["duration_ms"] for trace in traces.values())


def test_what_was_built_is_built_again_after_a_replacement(studio: Studio, name: str, call: Any) -> None:
    studio.place(name, template_release("one {{message}}"))
    assert call({"message": "x"}).json()["outputs"] == {"text": "one x"}
    studio.place(name, template_release("two {{message}}"), generation=2)
    assert call({"message": "x"}).json()["outputs"] == {"text": "two x"}


def test_a_failing_node_ends_its_siblings(studio: Studio, name: str, call: Any, model: ModelServer) -> None:
    asked = threading.Event()

    def reply(body: Any) -> Reply:
        if body["messages"][0]["content"] == "Second.":
            asked.set()
            return Reply(["late"], gate=threading.Event())
        assert asked.wait(10)
        return Reply(status=500)

    model.reply = reply
    studio.place(name, fan_in())
    answer = call({"message": "Ada"})
    assert answer.status_code == 502
    assert error_of(answer)["code"] == "model_failed"
    assert model.abandoned.wait(10), "the sibling's call of the model goes on"
    (record,) = executions_of(studio, name, 1)
    traces = {trace["node"]: (trace["status"], trace.get("error_code")) for trace in record["nodes"]}
    assert traces == {"first": ("failed", "model_failed"), "second": ("cancelled", None)}


def fan_in() -> Release:
    """Two agents that hear the caller, and a template that puts their answers together."""
    wires = [
        Connection(from_node="first", from_output="text", to_node="both", to_input="one"),
        Connection(from_node="second", from_output="text", to_node="both", to_input="two"),
    ]
    return Release(
        subject=Subject(kind="workflow", slug="pair", version=1),
        workflow=Workflow(
            nodes=[
                Node(id="first", type="KaizenAgent", parameters={"instructions": "First."}),
                Node(id="second", type="KaizenAgent", parameters={"instructions": "Second."}),
                Node(id="both", type="Template", parameters={"template": "1: {{one}}; 2: {{two}}"}),
            ],
            connections=wires,
        ),
        interface=Interface(
            inputs=DEFAULT_INPUTS,
            bindings=[Binding(input="message", node=node, parameter="message") for node in ("first", "second")],
            outputs=[Output(name="text", node="both", output="text")],
        ),
    )
