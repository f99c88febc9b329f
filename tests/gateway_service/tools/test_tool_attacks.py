"""Attacks through tools: by a release's author, by a model that a caller has talked into it, and by whoever answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.doubles.model_server import ModelServer, Reply
from tests.doubles.tool_server import ToolServer
from tests.gateway_service.tools.conftest import SECRET, http_tool, told
from tests.harness.gateway import agent_release

# All of these are on the allowlist: what is left to refuse them is the address.
INSIDE = [
    ("http://169.254.169.254/latest/meta-data/iam", "a link-local address"),
    ("http://10.0.0.1:{port}/", "a private address"),
    ("http://[::1]:{port}/", "a loopback address"),
    ("http://[::ffff:169.254.169.254]:{port}/", "a link-local address"),
]


@pytest.mark.parametrize(("url", "reason"), INSIDE)
def test_an_address_inside_is_not_connected_to(
    ask: Any, model: ModelServer, tools: ToolServer, url: str, reason: str
) -> None:
    model.follows(Reply(calls=[("lookup", {})]), Reply(["No."]))
    ask([http_tool(url.replace("{port}", str(tools.port)))])
    assert told(model) == [f"Error: it is at {reason}, and the gateway's operator does not allow that"]
    assert tools.asked == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "127.0.0.1."])
def test_other_spellings_of_an_address_are_no_hosts(ask: Any, model: ModelServer, tools: ToolServer, host: str) -> None:
    # A redirect, since a release with such a host is refused when it is pushed.
    model.follows(Reply(calls=[("lookup", {"to": f"http://{host}:{tools.port}/orders"})]), Reply(["No."]))
    ask([http_tool(f"{tools.url}/redirect?to={{to}}", "to")])
    assert told(model)[0].startswith("Error: ")
    assert [asked.target.partition("?")[0] for asked in tools.asked] == ["/redirect"]


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://169.254.169.254/latest", "a link-local address"),
        ("http://metadata.internal/", "does not allow tools to reach metadata.internal"),
        ("//evil.example/", "does not allow tools to reach evil.example"),
        ("http://127.0.0.1:{port}@evil.example/", "no user name"),
        ("http://evil.example\\@127.0.0.1:{port}/", ""),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://127.0.0.1:{port}/", "only http and https"),
        ("http://127.0.0.1:1/", "does not allow tools to reach 127.0.0.1"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_looked_at_like_a_first_request(
    ask: Any, model: ModelServer, tools: ToolServer, to: str, reason: str, status: int
) -> None:
    to = to.replace("{port}", str(tools.port))
    model.follows(Reply(calls=[("lookup", {"to": to})]), Reply(["No."]))
    ask([http_tool(f"{tools.url}/redirect?status={status}&to={{to}}", "to")])
    assert told(model)[0].startswith("Error: ")
    assert reason in told(model)[0]
    assert len(tools.asked) == 1


def test_redirects_are_bounded(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    # Each redirect leads to the next one, which is written within it.
    target = "/orders"
    for _ in range(5):
        target = f"/redirect?to={quote(target, safe='')}"
    model.follows(Reply(calls=[("lookup", {})]), Reply(["No."]))
    ask([http_tool(tools.url + target)])
    assert told(model) == ["Error: it redirects more than 3 times"]
    assert len(tools.asked) == 4


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_credentials_stay_with_their_origin(
    ask: Any, model: ModelServer, tools: ToolServer, status: int, method: str
) -> None:
    # Another name of the same server: another origin, though the operator allows both.
    model.follows(Reply(calls=[("lookup", {"word": "x"})]), Reply(["Done."]))
    headers = [{"name": "Authorization", "secret": "crm"}, {"name": "X-Api-Key", "value": "mine"}]
    url = f"{tools.url}/redirect?status={status}&to=http%3A%2F%2Flocalhost%3A{tools.port}%2Forders"
    ask([http_tool(url, "word", method="POST", headers=headers)])
    first, second = tools.asked
    assert first.headers["Authorization"] == SECRET
    assert (second.method, second.target) == (method, "/orders")
    assert {"Authorization", "X-Api-Key", "Cookie"}.isdisjoint(second.headers)
    assert second.body == (b"" if method == "GET" else first.body)


@pytest.mark.parametrize("value", ["..", ".", "../admin", "..\\admin", "a/b", "", "a\r\nX: y", "\0"])
def test_an_argument_stays_one_segment_of_the_path(ask: Any, model: ModelServer, tools: ToolServer, value: str) -> None:
    model.follows(Reply(calls=[("lookup", {"order": value})]), Reply(["No."]))
    ask([http_tool(f"{tools.url}/orders/{{order}}/lines", "order")])
    assert told(model)[0].startswith("Error: ")
    assert tools.asked == []


@pytest.mark.parametrize("value", ["a?b=c", "a#b", "a&b", "%2e%2e", "a;b", "@evil.example", "äöü €", "a b+c"])
def test_an_argument_is_encoded(ask: Any, model: ModelServer, tools: ToolServer, value: str) -> None:
    model.follows(Reply(calls=[("lookup", {"order": value})]), Reply(["Done."]))
    ask([http_tool(f"{tools.url}/orders/{{order}}/lines?q={{order}}", "order")])
    path, _, query = tools.asked[0].target.partition("?")
    assert unquote(path) == f"/orders/{value}/lines"
    assert unquote(query) == f"q={value}"


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_a_server_that_never_ends_is_cut_off(ask: Any, model: ModelServer, tools: ToolServer, path: str) -> None:
    model.follows(Reply(calls=[("lookup", {})]), Reply(["It does not answer."]))
    answer = ask([http_tool(tools.url + path, timeout_s=0.5)])
    assert answer.status_code == 200
    assert told(model) == ["Error: there was no whole answer within 0.5 s"]
    assert tools.abandoned.wait(5)


def test_a_flood_is_cut_with_a_note(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(calls=[("lookup", {})]), Reply(["Much."]))
    assert ask([http_tool(f"{tools.url}/flood")]).status_code == 200
    (text,) = told(model)
    assert len(text) < 33_000
    assert text.endswith("[The gateway cut the result here, after 32000 characters.]")
    assert tools.abandoned.wait(5)


def test_a_model_that_calls_without_end_is_refused(ask: Any, model: ModelServer, tools: ToolServer) -> None:
    model.follows(Reply(calls=[("lookup", {})] * 65))
    answer = ask([http_tool(f"{tools.url}/orders")])
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_failed")
    assert tools.asked == []


def test_a_caller_reaches_no_tool_by_inputs(
    tool_gateway: Any, tool_studio: Any, tool_key: Any, name: str, model: ModelServer, tools: ToolServer
) -> None:
    inputs = {
        "type": "object",
        "properties": {"message": {"type": "string"}, "tools": {"type": "array"}, "max_steps": {"type": "integer"}},
    }
    tool_studio.place(name, agent_release(inputs=inputs))
    with tool_gateway.caller(tool_key) as client:
        body = {"inputs": {"message": "Hi", "tools": [http_tool(f"{tools.url}/orders")], "max_steps": 50}}
        answer = client.post(f"/workflows/{name}/execute", json=body)
    assert answer.status_code == 200, answer.text
    assert "tools" not in model.requests[0]
