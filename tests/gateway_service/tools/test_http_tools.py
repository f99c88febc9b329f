"""HTTP tools: what the model is told, what the server is asked, and what comes back to the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.kinds import WORKFLOW
from tests.doubles.model_server import ModelServer, Reply
from tests.doubles.tool_server import ToolServer
from tests.gateway_service.tools.conftest import SECRET, http_tool, told
from tests.harness.gateway import agent_release, error_of, read_events


def test_a_tool_is_offered_called_and_told(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(["Let me look."], calls=[("lookup", {"order": "A 1"})]), Reply(["It is on its way."]))
    answer = ask([http_tool(f"{tools.url}/orders/{{order}}", "order")])
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"]["text"] == "Let me look.\n\nIt is on its way."
    assert [(asked.method, asked.target) for asked in tools.asked] == [("GET", "/orders/A%201")]
    first, second = model.requests
    (offered,) = first["tools"]
    assert offered["type"] == "function"
    assert offered["function"]["name"] == "lookup"
    assert offered["function"]["parameters"]["required"] == ["order"]
    assert second["messages"][-2]["tool_calls"][0]["function"] == {"name": "lookup", "arguments": '{"order": "A 1"}'}
    assert second["messages"][-1]["tool_call_id"] == second["messages"][-2]["tool_calls"][0]["id"]
    assert json.loads(told(model)[0])["target"] == "/orders/A%201"
    spent = answer.json()["usage"]["output_tokens"]
    assert spent == 3 + 5, "the tokens of all steps count"


def test_tools_work_while_the_answer_streams(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    calls = [("lookup", {"order": "1"}), ("lookup", {"order": "äö"})]
    model.follows(Reply(["One ", "moment."], calls=calls), Reply(["Both ", "came."]))
    answer = ask([http_tool(f"{tools.url}/orders/{{order}}", "order")], mode="stream")
    events = read_events(answer)
    pieces = [content["text"] for event, content in events if event == "token"]
    assert pieces == ["One ", "moment.", "\n\nBoth ", "came."]
    assert events[-1][1]["outputs"]["text"] == "".join(pieces)
    assert sorted(asked.target for asked in tools.asked) == ["/orders/%C3%A4%C3%B6", "/orders/1"]
    assert [json.loads(text)["target"] for text in told(model)] == ["/orders/1", "/orders/%C3%A4%C3%B6"]


def test_arguments_go_where_the_release_says(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(calls=[("lookup", {"order": "7", "note": "a&b=c"})]), Reply(["Done."]))
    tool = http_tool(f"{tools.url}/orders/{{order}}?full=1", "order", "note")
    ask([tool])
    assert tools.asked[0].target == "/orders/7?full=1&note=a%26b%3Dc"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_body_is_json(ask: Any, model: ModelServer, tools: ToolServer, method: str) -> None:
    model.follows(Reply(calls=[("lookup", {"order": "7", "note": "ü"})]), Reply(["Done."]))
    ask([http_tool(f"{tools.url}/orders/{{order}}", "order", "note", method=method)])
    (asked,) = tools.asked
    assert (asked.method, asked.target) == (method, "/orders/7")
    assert asked.headers["Content-Type"] == "application/json"
    assert json.loads(asked.body) == {"note": "ü"}


def test_a_secret_goes_into_its_header_and_nowhere_else(
    ask: Any, model: ModelServer, tools: ToolServer, tool_gateway: Any
) -> None:
    headers = [
        {"name": "Authorization", "value": "Bearer {secret}", "secret": "crm"},
        {"name": "X-Team", "value": "support"},
    ]
    model.follows(Reply(calls=[("lookup", {})]), Reply(["Done."]))
    answer = ask([http_tool(f"{tools.url}/orders", headers=headers)])
    assert tools.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert tools.asked[0].headers["X-Team"] == "support"
    assert "Cookie" not in tools.asked[0].headers
    assert SECRET not in json.dumps(model.requests) + answer.text + tool_gateway.log


FAILURES: list[tuple[str, Any, str]] = [
    ("/missing", {}, "Error: HTTP status 404\nthere is no such order"),
    ("/orders", {"surprise": 1}, "Error: surprise is not an accepted field"),
    ("/orders", '{"order": ', "Error: the arguments are "),
    ("/orders", "[]", "Error: the arguments must be a JSON object"),
    ("/binary", {}, "[256 bytes of image/png, which are no text]"),
]


@pytest.mark.parametrize(("path", "arguments", "expected"), FAILURES)
def test_what_goes_wrong_is_told_to_the_model(
    ask: Any, model: ModelServer, tools: ToolServer, path: str, arguments: Any, expected: str
) -> None:
    model.follows(Reply(calls=[("lookup", arguments)]), Reply(["I could not find it."]))
    answer = ask([http_tool(tools.url + path)])
    assert answer.status_code == 200, answer.text
    assert told(model)[0].startswith(expected)


def test_a_tool_that_does_not_exist_is_told_to_the_model(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(calls=[("lookdown", {})]), Reply(["Sorry."]))
    assert ask([http_tool(tools.url)]).status_code == 200
    assert told(model) == ["Error: there is no tool 'lookdown'"]


def test_with_the_last_step_the_model_must_answer(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.reply = lambda body: (
        Reply(["Enough."]) if body.get("tool_choice") == "none" else Reply(calls=[("lookup", {})])
    )
    answer = ask([http_tool(f"{tools.url}/orders")], max_steps=3)
    assert answer.json()["outputs"]["text"] == "Enough."
    assert len(tools.asked) == 2
    assert len(model.requests) == 3


def test_a_model_that_never_answers_is_ended(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.reply = lambda _: Reply(calls=[("lookup", {})])
    answer = ask([http_tool(f"{tools.url}/orders")], max_steps=2)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "node_failed")
    assert error_of(answer)["message"] == "the agent came to no answer within 2 steps"
    assert len(tools.asked) == 1


def test_tokens_of_all_steps_are_bounded(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.reply = lambda _: Reply(["word"], calls=[("lookup", {})])
    answer = ask([http_tool(f"{tools.url}/orders")], max_total_tokens=20, max_steps=50)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "node_failed")
    assert "20 tokens" in error_of(answer)["message"]
    assert len(model.requests) < 10
    assert model.requests[1]["max_tokens"] < model.requests[0]["max_tokens"] <= 20


def test_the_time_of_an_agent_is_bounded(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(calls=[("lookup", {})]))
    answer = ask([http_tool(f"{tools.url}/hang")], max_seconds=0.5)
    assert (answer.status_code, error_of(answer)["code"]) == (504, "timed_out")
    assert tools.abandoned.wait(5), "the tool's request must end with the agent"


def test_a_tool_that_the_operator_does_not_allow_is_refused_with_the_push(tool_studio: Any, name: str) -> None:
    for url, headers, reason in [
        ("https://crm.example/orders", [], "does not allow tools to reach crm.example"),
        ("http://169.254.169.254/", [{"name": "X-Key", "secret": "nowhere"}], "has no secret 'nowhere'"),
        ("http://169.254.169.254/", [{"name": "X-Key", "secret": "elsewhere"}], "does not allow the secret"),
    ]:
        release = agent_release(tools=[http_tool(url, headers=headers)])
        answer = tool_studio.send(WORKFLOW, name, tool_studio.request(WORKFLOW, name, release, 1).body(WORKFLOW))
        assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_release")
        assert error_of(answer)["path"] == "release.workflow.nodes[0].parameters.tools[0]"
        assert reason in error_of(answer)["message"]
