"""Tools that the OpenAI client runs itself, passed through where the agent allows it."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from contract.caller_keys import KeyText
from contract.release import Connection, Release, Workflow
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import GatewayProcess, Studio, agent_release, error_of, executions_of

CLOCK: Any = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ASKED: Any = [{"role": "user", "content": "How late is it in Oslo?"}]


@pytest.fixture
def client(gateway: GatewayProcess, key: KeyText) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.address}/v1", api_key=key.text, max_retries=0)


@pytest.fixture
def agent(studio: Studio, name: str) -> str:
    """An agent that takes tools of callers."""
    studio.place(name, agent_release(instructions="Be kind.", client_tools=True))
    return name


def test_a_call_comes_out_and_its_result_goes_in(
    client: openai.OpenAI, studio: Studio, agent: str, model: ModelServer
) -> None:
    model.follows(Reply(calls=[("clock", {"city": "Oslo"})]), Reply(["It is noon."]))
    first = client.chat.completions.create(model=agent, messages=ASKED, tools=[CLOCK])
    (choice,) = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {"city": "Oslo"})

    said: Any = [*ASKED, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "12:00"}]
    second = client.chat.completions.create(model=agent, messages=said, tools=[CLOCK])
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("It is noon.", "stop")

    told, heard = model.requests
    assert told["tools"] == [CLOCK]
    assert [each["role"] for each in heard["messages"]] == ["system", "user", "assistant", "tool"]
    assert heard["messages"][2]["tool_calls"][0]["id"] == call.id
    assert heard["messages"][3] == {"role": "tool", "tool_call_id": call.id, "content": "12:00"}
    assert [each["status"] for each in executions_of(studio, agent, 2)] == ["succeeded", "succeeded"]


def test_a_stream_carries_text_and_calls(client: openai.OpenAI, agent: str, model: ModelServer) -> None:
    calls = [("clock", {"city": "Oslo"}), ("clock", {"city": "Rome"})]
    model.reply = lambda _: Reply(["Let me ", "see."], calls=calls)
    with client.chat.completions.stream(model=agent, messages=ASKED, tools=[CLOCK]) as events:
        final = events.get_final_completion()
    (choice,) = final.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    cities = [json.loads(call.function.arguments)["city"] for call in choice.message.tool_calls or []]
    assert cities == ["Oslo", "Rome"]
    one = client.chat.completions.create(model=agent, messages=ASKED, tools=[CLOCK], parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls or []) == 1


def test_an_agent_that_shall_answer_in_json_may_ask_the_client_first(
    client: openai.OpenAI, studio: Studio, name: str, model: ModelServer
) -> None:
    schema = {"type": "object", "required": ["hour"], "properties": {"hour": {"type": "integer"}}}
    studio.place(name, agent_release(client_tools=True, answer_schema=schema))
    model.follows(Reply(calls=[("clock", {})]), Reply(['{"hour": 12}']))
    first = client.chat.completions.create(model=name, messages=ASKED, tools=[CLOCK]).choices[0]
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls or []
    said: Any = [*ASKED, first.message, {"role": "tool", "tool_call_id": call.id, "content": "12:00"}]
    assert client.chat.completions.create(model=name, messages=said).choices[0].message.content == '{"hour": 12}'


def test_no_tools_may_be_called_where_the_client_says_so(client: openai.OpenAI, agent: str, model: ModelServer) -> None:
    model.says("I do not know.")
    client.chat.completions.create(model=agent, messages=ASKED, tools=[CLOCK], tool_choice="none")
    assert model.requests[0]["tool_choice"] == "none"
    model.reply = lambda _: Reply(calls=[("clock", {})])
    with pytest.raises(openai.APIStatusError) as failure:
        client.chat.completions.create(model=agent, messages=ASKED, tools=[CLOCK], tool_choice="none")
    assert failure.value.status_code == 502


def test_a_tool_that_nobody_brought_is_no_call_for_the_client(
    client: openai.OpenAI, agent: str, model: ModelServer
) -> None:
    model.reply = lambda _: Reply(calls=[("delete_everything", {})])
    with pytest.raises(openai.APIStatusError) as failure:
        client.chat.completions.create(model=agent, messages=ASKED, tools=[CLOCK])
    assert failure.value.status_code == 502


CALLS = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "clock", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "noon"}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"tools": "clock"}, "tools"),
        ({"tools": [{"type": "custom"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1].function.name"),
        ({"tools": [CLOCK] * 65}, "tools"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": [1]}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [CLOCK], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [CLOCK], "parallel_tool_calls": 0}, "parallel_tool_calls"),
        ({"messages": [RESULT]}, "messages"),
        ({"messages": [*ASKED, RESULT]}, "messages[1].tool_call_id"),
        ({"messages": [*ASKED, CALLS]}, "messages[1].role"),
        ({"messages": [*ASKED, CALLS, *ASKED]}, "messages[2]"),
        ({"messages": [*ASKED, CALLS, RESULT, RESULT]}, "messages[3].tool_call_id"),
        ({"messages": [*ASKED, {**CALLS, "tool_calls": "x"}, RESULT]}, "messages[1].tool_calls"),
        ({"messages": [*ASKED, {**CALLS, "tool_calls": [{}]}, RESULT]}, "messages[1].tool_calls[0].function"),
    ],
)
def test_what_makes_no_sense_is_refused(
    gateway: GatewayProcess, key: KeyText, agent: str, members: dict[str, Any], path: str
) -> None:
    body = {"model": agent, "messages": ASKED, **members}
    with gateway.caller(key) as http:
        answer = http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, error_of(answer)["path"]) == (422, path)


def test_only_an_agent_alone_takes_tools_of_callers(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    alone = agent_release(client_tools=True)
    node = alone.workflow.nodes[0]
    other = node.model_copy(update={"id": "other"})
    pair = alone.model_copy(
        update={
            "workflow": Workflow(
                nodes=[node, other],
                connections=[Connection(from_node="other", from_output="text", to_node="agent", to_input="more")],
            )
        }
    )
    studio.place(name, Release.parse(pair.model_dump(mode="json", exclude_none=True)))
    with gateway.caller(key) as http:
        answer = http.post("/v1/chat/completions", json={"model": name, "messages": ASKED, "tools": [CLOCK]})
    assert (answer.status_code, error_of(answer)["path"]) == (422, "tools")
    assert model.requests == []
