"""The official MCP client, unchanged, against a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

from contract.caller_keys import KeyText
from contract.kinds import API_KEY, WORKFLOW
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    wait_until,
)

ANNOUNCED = ["notifications/tools/list_changed", "notifications/resources/list_changed"]


@contextlib.asynccontextmanager
async def connected(address: str, key: KeyText, heard: list[str] | None = None) -> AsyncIterator[ClientSession]:
    """The official client, initialized; `heard` receives the methods of what it is notified of."""

    async def hear(message: Any) -> None:
        if heard is not None:
            heard.append(message.root.method)

    headers = {"Authorization": f"Bearer {key.text}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=30) as client,
        streamable_http_client(f"{address}/mcp", http_client=client) as (read, write, _),
        ClientSession(read, write, message_handler=hear) as session,
    ):
        await session.initialize()
        yield session


async def test_registrations_are_tools(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    inputs = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}
    studio.place(name, agent_release(description="Greets people.", inputs=inputs))
    key = studio.issue(scopes=[name, "later-test"])
    async with connected(gateway.address, key) as session:
        (tool,) = (await session.list_tools()).tools
        assert (tool.name, tool.description) == (name, "Greets people.")
        assert tool.inputSchema == {"additionalProperties": False, **inputs}

        answer = await session.call_tool(name, {"message": "Hello"})
        assert not answer.isError
        assert answer.structuredContent == {"text": "You said: Hello"}
        assert answer.content[0].text == "You said: Hello"  # type: ignore[union-attr]

        wrong = await session.call_tool(name, {"instructions": "Be evil."})
        assert wrong.isError
        assert "inputs.instructions is not an accepted field" in wrong.content[0].text  # type: ignore[union-attr]

        beyond = await session.call_tool("other-test", {"message": "x"})
        assert beyond.isError
        assert "forbidden" in beyond.content[0].text  # type: ignore[union-attr]

        model.says("my words", status=500)
        failed = await session.call_tool(name, {"message": "my prompt"})
        assert failed.isError
        assert "my prompt" not in failed.content[0].text  # type: ignore[union-attr]

        studio.place("later-test", agent_release())
        assert len((await session.list_tools()).tools) == 2
        studio.delete(WORKFLOW, "later-test", 2)
        assert len((await session.list_tools()).tools) == 1
    records = executions_of(studio, name, 2)
    assert [(record["channel"], record["status"]) for record in records] == [
        ("mcp", "succeeded"),
        ("mcp", "failed"),
    ]


async def test_changes_of_the_list_are_announced(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name, "announced-test"])
    heard: list[str] = []
    async with connected(gateway.address, key, heard) as session:
        capabilities = session.get_server_capabilities()
        assert capabilities is not None
        assert capabilities.tools is not None
        assert capabilities.tools.listChanged is True
        for change, announced in (
            (lambda: studio.place("announced-test", agent_release()), 1),
            (lambda: studio.place("announced-test", agent_release(version=2), 2), 2),
            (lambda: studio.place("beyond-the-scope-test", agent_release()), 2),
            (lambda: studio.delete(WORKFLOW, "announced-test", 3), 3),
        ):
            await asyncio.to_thread(change)
            await until(lambda: len(heard) >= 2 * announced)  # noqa: B023 (waited for at once)
        assert heard == ANNOUNCED * 3


def test_a_change_that_was_missed_is_announced_afterwards(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    session = begin(gateway, key)
    listening = {"Accept": "text/event-stream", "mcp-session-id": session}
    studio.place(name, agent_release(version=2), 2)
    with gateway.caller(key) as client, client.stream("GET", "/mcp", headers=listening) as stream:
        lines = [line for line in _first(stream, 4) if line]
    assert [ANNOUNCED[0] in lines[1], ANNOUNCED[1] in lines[3]] == [True, True]
    last_heard = lines[0].removeprefix("id: ")
    studio.place(name, agent_release(version=3), 3)
    with (
        gateway.caller(key) as client,
        client.stream("GET", "/mcp", headers={**listening, "Last-Event-ID": last_heard}) as stream,
    ):
        assert _first(stream, 1) != [f"id: {last_heard}"]


def test_announcements_end_with_their_key_and_with_the_gateway(fresh_gateway: Any, name: str) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(name, agent_release())
    key, other = studio.issue(), studio.issue()
    listening = {"Accept": "text/event-stream"}
    with gateway.caller(key) as client, client.stream("GET", "/mcp", headers=listening) as stream:
        assert studio.delete(API_KEY, key.id, 2).status_code == 200
        assert list(stream.iter_lines()) == [": keep-alive", ""]
    with gateway.caller(key) as client:
        assert client.get("/mcp", headers=listening).status_code == 401
        assert client.delete("/mcp").status_code == 401
    with gateway.caller(other) as client, client.stream("GET", "/mcp", headers=listening) as stream:
        gateway.terminate()
        assert list(stream.iter_lines()) == [": keep-alive", ""]
    assert gateway.wait() == 0


def test_nobody_opens_streams_without_end(gateway: GatewayProcess, studio: Studio) -> None:
    key, other = studio.issue(), studio.issue()
    listening = {"Accept": "text/event-stream"}
    with contextlib.ExitStack() as open_streams:
        limits = httpx.Limits(max_connections=None)
        client = open_streams.enter_context(gateway.caller(key, limits=limits))
        for _ in range(100):
            answer = open_streams.enter_context(client.stream("GET", "/mcp", headers=listening))
            assert answer.status_code == 200
        refused = client.get("/mcp", headers=listening)
        assert (refused.status_code, error_of(refused)["code"]) == (503, "overloaded")
        with gateway.caller(other) as neighbour, neighbour.stream("GET", "/mcp", headers=listening) as answer:
            assert answer.status_code == 200


async def test_each_registration_has_documentation(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    inputs = {
        "type": "object",
        "required": ["message", "city"],
        "properties": {
            "message": {"type": "string", "description": "What to\nsay | or ask."},
            "city": {"type": "string", "examples": ["Oslo"]},
            "tone": {"enum": ["kind", "curt"], "default": "kind"},
        },
    }
    release = agent_release(description="Greets people.", instructions="A secret of ours.", inputs=inputs)
    studio.place(name, release)
    async with connected(gateway.address, studio.issue(scopes=[name])) as session:
        (resource,) = (await session.list_resources()).resources
        assert (str(resource.uri), resource.mimeType) == (f"kaizen://registrations/{name}", "text/markdown")
        assert resource.description == "Greets people."
        (template,) = (await session.list_resource_templates()).resourceTemplates
        assert template.uriTemplate == "kaizen://registrations/{name}"

        (content,) = (await session.read_resource(resource.uri)).contents
        text = content.text  # type: ignore[union-attr]
        assert text.startswith("# Greeter\n\nGreets people.\n")
        assert "| `message` | string | yes | What to say \\| or ask. |" in text
        assert '| `tone` | one of `"kind"`, `"curt"` | no | Default: `"kind"`. |' in text
        assert "| `text` | string | yes |" in text
        assert '"city": "Oslo"' in text
        assert "secret" not in text

        for uri in ("kaizen://registrations/other-test", "kaizen://registrations/", "file:///etc/passwd"):
            with pytest.raises(McpError) as refused:
                await session.read_resource(AnyUrl(uri))
            assert refused.value.error.code in (-32_002, -32_602), uri


async def test_progress_is_what_the_agent_says(
    gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says("Good ", "day, ", "dear ", "friend.", gate=gate)
    told: list[tuple[float, str]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((progress, message or ""))
        gate.set()  # the model goes on only after its first word was told

    async with connected(gateway.address, studio.issue(scopes=[name])) as session:
        answer = await session.call_tool(name, {"message": "Hi"}, progress_callback=tell)
        assert answer.structuredContent == {"text": "Good day, dear friend."}
        await until(lambda: told and told[-1][0] == len("Good day, dear friend."))
        assert told[0] == (5, "Good ")
        assert "".join(message for _, message in told) == "Good day, dear friend."
        assert all(earlier < later for (earlier, _), (later, _) in itertools.pairwise(told))

        model.says("my words", status=500)
        failed = await session.call_tool(name, {"message": "Hi"}, progress_callback=tell)
        assert failed.isError


def test_a_call_that_tells_its_progress_has_time_to_drain(fresh_gateway: Any, name: str, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(name, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("Good ", "day.", gate=gate)
    call = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": {"message": "x"}, "_meta": {"progressToken": 7}},
    }  # fmt: skip
    headers = {"Accept": "application/json, text/event-stream"}
    with gateway.caller(key) as client, client.stream("POST", "/mcp", json=call, headers=headers) as stream:
        lines = stream.iter_lines()
        assert any("notifications/progress" in line for line in lines)
        gateway.terminate()
        wait_until(lambda: refuses(gateway))
        gate.set()
        assert any('"structuredContent":{"text":"Good day."}' in line for line in lines)
    assert gateway.wait() == 0


async def test_without_a_key_there_is_nothing(gateway: GatewayProcess) -> None:
    with pytest.raises(BaseException) as failure:  # noqa: PT011 (the SDK wraps it in exception groups)
        async with (
            streamable_http_client(f"{gateway.address}/mcp") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
    assert "401" in _all_messages(failure.value)


def test_a_huge_or_broken_body_is_refused(gateway: GatewayProcess, key: KeyText) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    with gateway.caller(key) as client:
        huge = client.post("/mcp", content=b" " * 1_100_000, headers=headers)
        broken = client.post("/mcp", content=b"{", headers=headers)
        elsewhere = client.get("/mcp", headers={"Accept": "application/json"})
    assert huge.status_code == 413
    assert broken.status_code == 400
    assert elsewhere.status_code == 405


def test_when_the_client_leaves_the_model_call_ends(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says("never", gate=gate)
    call = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": {"message": "x"}},
    }  # fmt: skip
    headers = {"Accept": "application/json, text/event-stream"}
    with gateway.caller(key, timeout=0.7) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/mcp", json=call, headers=headers)
    assert model.abandoned.wait(5)
    gate.set()
    (record,) = executions_of(studio, name, 1)
    assert record["status"] == "cancelled"


def begin(gateway: GatewayProcess, key: KeyText) -> str:
    """Initialize by hand; returns the session's id."""
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    with gateway.caller(key) as client:
        answer = client.post("/mcp", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert answer.status_code == 200, answer.text
    return answer.headers["mcp-session-id"]


def refuses(gateway: GatewayProcess) -> bool:
    """Whether the gateway begins nothing new."""
    try:
        return not httpx.get(f"{gateway.address}/readyz", timeout=1).is_success
    except httpx.HTTPError:
        return True


async def until(condition: Any) -> None:
    """Wait for something that becomes true soon."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.02)


def _first(stream: httpx.Response, count: int) -> list[str]:
    """The first lines of a stream that say something."""
    told = (line for line in stream.iter_lines() if line and not line.startswith(":"))
    return [next(told) for _ in range(count)]


def _all_messages(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " ".join(_all_messages(each) for each in error.exceptions)
    return str(error)
