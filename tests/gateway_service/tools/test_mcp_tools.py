"""Tools of MCP servers. The server here is another gateway: a real one, of the official SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.release import Limits
from tests.doubles.model_server import ModelServer, Reply
from tests.doubles.tool_server import ToolServer
from tests.gateway_service.tools.conftest import told
from tests.harness.gateway import GatewayProcess, Studio, agent_release


class Pair:
    """A gateway whose agent uses another gateway's agents over MCP."""

    def __init__(self, inner: GatewayProcess, outer: GatewayProcess) -> None:
        self.inner, self.outer = inner, outer
        self.inner_studio, self.studio = inner.admin(), outer.admin()
        self.key = self.studio.issue()

    def ask(self, tool: dict[str, Any]) -> Any:
        """Ask an agent that has the tool."""
        generation = self.studio.holds().get(("workflow", "host-test"))
        number = 1 if generation is None else generation.generation + 1
        release = agent_release("host", instructions="You host.", tools=[tool], limits=Limits(timeout_s=30))
        self.studio.place("host-test", release, number)
        return self.outer.ask(self.key, name="host-test")


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer, tool_server: ToolServer
) -> Iterator[Pair]:
    """Both, running; the inner one has two agents and a key that the outer one's operator keeps."""
    folder = tmp_path_factory.mktemp("pair")
    inner = GatewayProcess(folder / "inner", model_server.base_url).start()
    studio = Studio(inner)
    studio.place("weather-test", agent_release("weather", instructions="You know.", description="Tells the weather."))
    studio.place("news-test", agent_release("news", instructions="You know."))
    secrets = folder / "secrets.toml"
    secrets.write_text(f'[secrets.inner]\nhosts = ["127.0.0.1:{inner.port}"]\nvalue = "{studio.issue().text}"\n')
    outer = GatewayProcess(
        folder / "outer",
        model_server.base_url,
        extra={
            "GATEWAY_TOOL_HOSTS": f"127.0.0.1:{inner.port},127.0.0.1:{tool_server.port},127.0.0.1:9,10.0.0.1",
            "GATEWAY_TOOL_NETWORKS": "127.0.0.0/8",
            "GATEWAY_TOOL_SECRETS": str(secrets),
        },
    ).start()
    yield Pair(inner, outer)
    inner.stop()
    outer.stop()


def mcp_tool(url: str, *tools: str, **members: Any) -> dict[str, Any]:
    """Tools of the inner gateway."""
    return {"type": "mcp", "name": "inner", "url": url, "tools": list(tools or ("weather-test",)), **members}


BEARER = [{"name": "Authorization", "value": "Bearer {secret}", "secret": "inner"}]


def script(body: dict[str, Any]) -> Reply:
    """The models of host and weather."""
    if body["messages"][0]["content"].startswith("You know"):
        return Reply(["Sunny."])
    if body["messages"][-1]["role"] == "tool":
        return Reply(["It is sunny."])
    return Reply(calls=[("inner__weather-test", {"message": "Today?"})])


def test_an_agent_uses_the_tools_that_its_release_names(pair: Pair, model: ModelServer) -> None:
    model.reply = script
    answer = pair.ask(mcp_tool(f"{pair.inner.address}/mcp", headers=BEARER))
    assert answer.json()["outputs"]["text"] == "It is sunny.", answer.text
    assert told(model) == ["Sunny."]
    (offered,) = model.requests[0]["tools"]
    assert offered["function"]["name"] == "inner__weather-test"
    assert offered["function"]["description"] == "Tells the weather."
    assert offered["function"]["parameters"]["required"] == ["message"]


def test_a_tool_that_the_release_does_not_name_cannot_be_called(pair: Pair, model: ModelServer) -> None:
    model.follows(Reply(calls=[("inner__news-test", {"message": "x"})]), Reply(["No."]))
    pair.ask(mcp_tool(f"{pair.inner.address}/mcp", headers=BEARER))
    assert told(model) == ["Error: there is no tool 'inner__news-test'"]


def test_an_error_of_a_tool_is_told_to_the_model(pair: Pair, model: ModelServer) -> None:
    model.follows(Reply(calls=[("inner__weather-test", {"surprise": 1})]), Reply(["No."]))
    pair.ask(mcp_tool(f"{pair.inner.address}/mcp", headers=BEARER))
    assert told(model)[0].startswith("Error: ")
    assert "surprise" in told(model)[0] or "message" in told(model)[0]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:9/mcp", []),
        ("http://10.0.0.1/mcp", []),
        ("{inner}/mcp", []),
        ("{inner}/nothing", BEARER),
        ("{tools}/hang", []),
        ("{tools}/flood", []),
        ("{tools}/orders", []),
        ("{tools}/redirect?to=http://169.254.169.254/", []),
    ],
)
def test_a_server_that_cannot_be_used_does_not_end_the_agent(
    pair: Pair, model: ModelServer, tools: ToolServer, url: str, headers: list[Any]
) -> None:
    model.says("I do without.")
    url = url.replace("{inner}", pair.inner.address).replace("{tools}", tools.url)
    answer = pair.ask(mcp_tool(url, headers=headers, timeout_s=2))
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"]["text"] == "I do without."
    assert "The tool inner cannot be used now" in model.requests[0]["messages"][0]["content"]
