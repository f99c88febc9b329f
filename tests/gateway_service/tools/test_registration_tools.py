"""Agents that call other agents of their gateway: with the caller's rights, recorded, stoppable and bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from contract.caller_keys import KeyText
from contract.kinds import API_KEY
from tests.doubles.model_server import ModelServer, Reply
from tests.gateway_service.tools.conftest import told
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    wait_until,
)

ASK_EXPERT = {"type": "registration", "name": "ask_expert", "agent": "expert", "description": "Knows everything."}
CALL = Reply(calls=[("ask_expert", {"message": "How far?"})])


@pytest.fixture
def gateway_of_two(fresh_gateway: Callable[..., GatewayProcess]) -> tuple[GatewayProcess, Studio]:
    """A gateway with a host, who asks an expert."""
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place("host-test", agent_release("host", instructions="You host.", tools=[ASK_EXPERT]))
    studio.place("expert-test", agent_release("expert", instructions="You know."))
    return gateway, studio


def replies(expert: Reply, host: Reply, call: Reply = CALL) -> Callable[[dict[str, Any]], Reply]:
    """A model that is host and expert, by its instructions."""

    def reply(body: dict[str, Any]) -> Reply:
        if body["messages"][0]["content"].startswith("You know"):
            return expert
        return host if body["messages"][-1]["role"] == "tool" else call

    return reply


def test_an_agent_asks_another_one(gateway_of_two: tuple[GatewayProcess, Studio], model: ModelServer) -> None:
    gateway, studio = gateway_of_two
    model.reply = replies(Reply(["Twelve miles."]), Reply(["It is twelve miles."]))
    answer = gateway.ask(studio.issue(), name="host-test")
    assert answer.json()["outputs"]["text"] == "It is twelve miles."
    assert told(model) == ["Twelve miles."]
    (offered,) = model.requests[0]["tools"]
    assert offered["function"]["description"] == "Knows everything."
    assert offered["function"]["parameters"]["required"] == ["message"]
    (expert,) = executions_of(studio, "expert-test", 1)
    (host,) = executions_of(studio, "host-test", 1)
    assert expert["key_id"] == host["key_id"]
    assert expert["output_tokens"] == 2
    assert host["output_tokens"] == 4, "what the other agent spent is on its own record"


def test_a_key_reaches_no_more_through_an_agent_than_by_itself(
    gateway_of_two: tuple[GatewayProcess, Studio], model: ModelServer
) -> None:
    gateway, studio = gateway_of_two
    model.reply = replies(Reply(["Never."]), Reply(["I cannot."]))
    assert gateway.ask(studio.issue(["host-test"]), name="host-test").status_code == 200
    assert told(model) == ["Error: there is no tool 'ask_expert'"]
    assert "The tool ask_expert cannot be used now" in model.requests[0]["messages"][0]["content"]
    assert "tools" not in model.requests[0]


def test_a_stopped_agent_is_not_reached_through_another(
    gateway_of_two: tuple[GatewayProcess, Studio], model: ModelServer
) -> None:
    gateway, studio = gateway_of_two
    studio.stop("expert-test")
    model.reply = replies(Reply(["Never."]), Reply(["It is stopped."]))
    assert gateway.ask(studio.issue(), name="host-test").status_code == 200
    assert told(model)[0].startswith("Error: stopped: ")


def test_a_stop_of_the_one_ends_the_other(gateway_of_two: tuple[GatewayProcess, Studio], model: ModelServer) -> None:
    gateway, studio = gateway_of_two
    key, gate, answers = studio.issue(), threading.Event(), []
    model.reply = replies(Reply(["Late."], gate=gate), Reply(["Never."]))
    caller = threading.Thread(target=lambda: answers.append(gateway.ask(key, name="host-test")))
    caller.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 2)
    studio.stop("host-test")
    caller.join()
    gate.set()
    assert error_of(answers[0])["code"] == "stopped"
    assert model.abandoned.wait(5)
    (expert,) = executions_of(studio, "expert-test", 1)
    assert expert["status"] == "cancelled"
    assert studio.state()["capacity"]["in_flight"] == 0


def test_agents_that_call_each_other_come_to_an_end(fresh_gateway: Any, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    tool = {"type": "registration", "name": "again", "agent": "echo"}
    studio.place("echo-test", agent_release("echo", tools=[tool], description="Echoes."))
    model.reply = lambda body: (
        Reply(["Enough."])
        if body["messages"][-1]["role"] == "tool"
        else Reply(calls=[("again", {"message": "Once more."})])
    )
    assert gateway.ask(studio.issue(), name="echo-test").json()["outputs"]["text"] == "Enough."
    assert len(executions_of(studio, "echo-test", 4)) == 4
    deepest = next(body["messages"][-1] for body in model.requests if body["messages"][-1]["role"] == "tool")
    assert "3 times deep" in deepest["content"]


def test_a_revoked_key_calls_nothing_more(gateway_of_two: tuple[GatewayProcess, Studio], model: ModelServer) -> None:
    gateway, studio = gateway_of_two
    key: KeyText = studio.issue()
    gate, answers = threading.Event(), []
    call = Reply(["Wait."], calls=CALL.calls, gate=gate)
    model.reply = replies(Reply(["Never."]), Reply(["I may not."]), call)
    caller = threading.Thread(target=lambda: answers.append(gateway.ask(key, name="host-test")))
    caller.start()
    wait_until(lambda: model.requests)
    studio.delete(API_KEY, key.id, 2)
    gate.set()
    caller.join()
    assert told(model) == ["Error: forbidden: the caller's key is not valid any more"]
