"""A gateway whose operator lets tools reach one server on the loopback, and the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from contract.caller_keys import KeyText
from contract.release import Release
from tests.doubles.model_server import ModelServer
from tests.doubles.tool_server import ToolServer
from tests.harness.gateway import GatewayProcess, Studio, agent_release

SECRET = "the-crm-token"


@pytest.fixture(scope="package")
def tool_server() -> Iterator[ToolServer]:
    """The server of this test session."""
    with ToolServer() as server:
        yield server


@pytest.fixture
def tools(tool_server: ToolServer) -> ToolServer:
    """The server, with nothing left of earlier tests."""
    tool_server.asked.clear()
    tool_server.abandoned.clear()
    return tool_server


@pytest.fixture(scope="package")
def tool_gateway(
    tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer, tool_server: ToolServer
) -> Iterator[GatewayProcess]:
    """A gateway with an allowlist and a secret."""
    folder = tmp_path_factory.mktemp("tool-gateway")
    secrets = folder / "secrets.toml"
    secrets.write_text(
        f'[secrets.crm]\nhosts = ["127.0.0.1:{tool_server.port}"]\nvalue_env = "CRM_TOKEN"\n'
        '[secrets.elsewhere]\nhosts = ["other.example"]\nvalue = "the-other-token"\n'
    )
    port = tool_server.port
    process = GatewayProcess(
        folder,
        model_server.base_url,
        extra={
            "GATEWAY_TOOL_HOSTS": f"127.0.0.1:{port}, localhost:{port}, 169.254.169.254, 10.0.0.1:{port}, "
            f"*.localhost:{port}, [::1]:{port}, [::ffff:a9fe:a9fe]:{port}",
            "GATEWAY_TOOL_NETWORKS": "127.0.0.1/32",
            "GATEWAY_TOOL_SECRETS": str(secrets),
            "CRM_TOKEN": SECRET,
        },
    ).start()
    yield process
    process.stop()


@pytest.fixture(scope="package")
def tool_studio(tool_gateway: GatewayProcess) -> Studio:
    """Studio's side of it."""
    return tool_gateway.admin()


@pytest.fixture(scope="package")
def tool_key(tool_studio: Studio) -> KeyText:
    """A key for everything on it."""
    return tool_studio.issue()


@pytest.fixture
def ask(tool_gateway: GatewayProcess, tool_studio: Studio, tool_key: KeyText, name: str) -> Callable[..., Any]:
    """Place an agent with these tools and ask it: `ask([tool], mode=…, **parameters)`."""

    def send(tools: list[dict[str, Any]], *, mode: str = "sync", **parameters: Any) -> httpx.Response:
        release = parameters.pop("release", None) or agent_release(tools=tools, **parameters)
        assert isinstance(release, Release)
        tool_studio.place(name, release)
        return tool_gateway.ask(tool_key, name=name, mode=mode)

    return send


def http_tool(url: str, *arguments: str, **members: Any) -> dict[str, Any]:
    """An HTTP tool `lookup` that takes texts."""
    schema = {
        "type": "object",
        "required": list(arguments),
        "properties": {argument: {"type": "string"} for argument in arguments},
    }
    tool = {"type": "http", "name": "lookup", "description": "Looks things up.", "url": url, "arguments": schema}
    return {**tool, **members}


def told(model: ModelServer) -> list[str]:
    """What the model was told by its tools with its last question."""
    messages = model.requests[-1]["messages"]
    return [message["content"] for message in messages if message["role"] == "tool"]
