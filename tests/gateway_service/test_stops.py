"""Stops: what runs ends, nothing new begins, on every channel and in every process, until somebody lifts them."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import openai
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from contract.caller_keys import KeyText
from contract.kinds import STOP
from contract.stops import Stop
from tests.doubles.model_server import ModelServer
from tests.gateway_service.test_command_lines import run
from tests.harness.gateway import (
    AGENT,
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    read_events,
    wait_until,
)

MakeGateway = Callable[..., GatewayProcess]

STOP_ID = "5709a11ed0"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What the model waits for. A test that fails must not leave threads of the model waiting."""
    event = threading.Event()
    yield event
    event.set()


class InBackground:
    """Calls that are on their way."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(32)
        self._calls: list[Any] = []

    def start(self, call: Callable[[], Any]) -> None:
        self._calls.append(self._pool.submit(call))

    def answers(self) -> list[Any]:
        return [call.result(30) for call in self._calls]

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def background(gate: threading.Event) -> Iterator[InBackground]:
    calls = InBackground()
    yield calls
    gate.set()
    calls.close()


def test_every_channel_refuses_what_is_stopped(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, call: Any, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    stopped = studio.stop(name)
    with gateway.caller(key) as client:
        path = f"/workflows/{name}/execute"
        answers = [
            client.post(path, json={"inputs": {"message": "Hi"}}),
            client.post(path, json={"inputs": {"nonsense": "Hi"}}),
            client.post(path, json={"inputs": {"message": "Hi"}, "mode": "stream"}),
            client.post(f"/workflows/{name}", json={"parameters": {"message": "Hi"}}),
            client.post("/v1/chat/completions", json={"model": name, "messages": [{"role": "user", "content": "Hi"}]}),
        ]
        assert client.get(f"/workflows/{name}").json()["stopped"] is True
        assert client.get("/workflows").json()[name]["stopped"] is True
    for answer in answers:
        assert (answer.status_code, error_of(answer)["code"]) == (403, "stopped"), answer.text
        assert name in error_of(answer)["message"]
        assert "Retry-After" not in answer.headers
    asking = openai.OpenAI(base_url=f"{gateway.address}/v1", api_key=key.text, max_retries=0)
    with pytest.raises(openai.PermissionDeniedError, match="is stopped"):
        asking.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}], stream=True)
    ran = run("gateway_service.cli", "--url", gateway.address, "run", name, "--param", "message=Hi", key=key)
    assert (ran.returncode, ran.stdout) == (4, "")
    assert "is stopped" in ran.stderr
    listed = run("gateway_service.cli", "--url", gateway.address, "list", key=key)
    assert [line.endswith("stopped") for line in listed.stdout.splitlines() if line.startswith(name)] == [True]
    assert model.requests == []
    metrics = studio.http.get("/metrics").text
    assert f'kaizen_stopped_executions_total{{outcome="refused",registration="{name}"}} 7.0' in metrics
    assert f"kaizen_stops {float(_live_stops(studio))}" in metrics

    assert studio.lift(stopped["name"]).json()["outcome"] == "applied"
    assert call().status_code == 200
    with gateway.caller(key) as client:
        assert client.get(f"/workflows/{name}").json()["stopped"] is False


async def test_mcp_refuses_what_is_stopped(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    studio.stop(name)
    async with mcp_session(gateway, key) as session:
        assert [tool.name for tool in (await session.list_tools()).tools] == [name]
        answer = await session.call_tool(name, {"message": "Hi"})
    assert answer.isError
    assert answer.content[0].text.startswith("stopped: ")  # type: ignore[union-attr]


def test_a_stop_ends_what_runs_before_it_is_acknowledged(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer, gate: threading.Event,
    background: InBackground,
) -> None:  # fmt: skip
    other = f"other-{name}"
    studio.place(name, agent_release())
    studio.place(other, agent_release(slug="other"))
    model.says("never", gate=gate)
    asking = openai.OpenAI(base_url=f"{gateway.address}/v1", api_key=key.text, max_retries=0)

    def stream() -> httpx.Response:
        with gateway.caller(key) as client:
            body = {"inputs": {"message": "Hi"}, "mode": "stream"}
            return client.post(f"/workflows/{name}/execute", json=body)

    def chat() -> str:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            asking.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}])
        return str(refused.value.code)

    def chat_stream() -> str:
        with pytest.raises(openai.APIError, match="is stopped"):
            list(
                asking.chat.completions.create(
                    model=name, messages=[{"role": "user", "content": "Hi"}], stream=True
                )
            )  # fmt: skip
        return "stopped"

    for call in (lambda: gateway.ask(key, name=name), stream, chat, chat_stream, lambda: gateway.ask(key, name=other)):
        background.start(call)
    wait_until(lambda: len(model.requests) == 5)

    studio.stop(name)

    records = [record for record in studio.executions()["items"] if record["registration"] == name]
    assert len(records) == 4, "when the stop is acknowledged, nothing of it runs any more"
    assert {(record["status"], record["error_code"]) for record in records} == {("cancelled", "stopped")}
    assert studio.state()["capacity"]["in_flight"] == 1, "what is not stopped goes on"
    assert model.abandoned.wait(5), "nobody pays for words that nobody will read"
    gate.set()
    sync, streamed, chatted, chunks, untouched = background.answers()
    assert (sync.status_code, error_of(sync)["code"]) == (403, "stopped")
    assert error_of(sync)["execution_id"] in {record["execution_id"] for record in records}
    events = read_events_of(streamed)
    assert [event for event, _ in events] == ["started", "token", "error"]
    assert events[-1][1]["error"]["code"] == "stopped"
    assert events[-1][1]["error"]["execution_id"] == events[0][1]["execution_id"]
    assert (chatted, chunks) == ("stopped", "stopped")
    assert untouched.json()["outputs"] == {"text": "never"}
    metrics = studio.http.get("/metrics").text
    assert f'kaizen_stopped_executions_total{{outcome="cancelled",registration="{name}"}} 4.0' in metrics


async def test_a_stop_ends_an_mcp_call(
    gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer, gate: threading.Event,
    background: InBackground,
) -> None:  # fmt: skip
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    model.says("never", gate=gate)

    def stop() -> None:
        wait_until(lambda: model.requests)
        studio.stop(name)

    async with mcp_session(gateway, key) as session:
        background.start(stop)
        answer = await session.call_tool(name, {"message": "Hi"})
    assert answer.isError
    assert answer.content[0].text.startswith("stopped: ")  # type: ignore[union-attr]
    assert answer.meta is not None
    (record,) = executions_of(studio, name, 1)
    assert record["execution_id"] == answer.meta["error"]["execution_id"]
    assert (record["channel"], record["status"], record["error_code"]) == ("mcp", "cancelled", "stopped")


def test_nothing_slips_through_between_look_and_stop(fresh_gateway: MakeGateway, background: InBackground) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    ended = threading.Event()
    codes: list[str] = []

    def call_all_the_time() -> None:
        with gateway.caller(key) as client:
            while not ended.is_set():
                answer = client.post(f"/workflows/{AGENT}/execute", json={"inputs": {"message": "Hi"}})
                codes.append("ran" if answer.status_code == 200 else error_of(answer)["code"])

    for _ in range(12):
        background.start(call_all_the_time)
    windows: list[tuple[float, float]] = []
    try:
        for generation in range(1, 16, 2):
            enough = codes.count("ran") + 20
            wait_until(lambda enough=enough: codes.count("ran") > enough)
            studio.stop(AGENT, stop_id=STOP_ID, generation=generation)
            began = time.time()
            assert studio.state()["capacity"]["in_flight"] == 0
            enough = codes.count("stopped") + 20
            wait_until(lambda enough=enough: codes.count("stopped") > enough)
            # The gateway writes down the begin of an execution in whole milliseconds.
            windows.append((began, time.time() - 0.002))
            studio.lift(STOP_ID, generation + 1)
    finally:
        ended.set()
    background.answers()
    assert set(codes) == {"ran", "stopped"}
    records = executions_of(studio, AGENT, codes.count("ran"))
    moments = [moment for record in records if record["status"] == "succeeded" for moment in _begin_and_end(record)]
    inside = [moment for moment in moments for began, lifted in windows if began < moment < lifted]
    assert inside == [], "an execution began or succeeded between an acknowledged stop and its end"
    cancelled = [record for record in records if record["status"] == "cancelled"]
    assert {record["error_code"] for record in cancelled} <= {"stopped"}


def test_stops_overlap_and_each_must_be_lifted(studio: Studio, name: str, call: Any) -> None:
    release = agent_release(slug=name.removesuffix("-test"))
    studio.place(name, release)
    by_name = studio.stop(name)
    by_release = studio.stop(releases=[release.digest])
    studio.lift(by_name["name"])
    assert error_of(call())["code"] == "stopped"
    studio.place(name, agent_release(slug="another"), 2)
    assert call().status_code == 200, "a stop of a release leaves other releases alone"
    studio.place(name, release, 3)
    assert error_of(call())["code"] == "stopped"
    studio.lift(by_release["name"])
    assert call().status_code == 200


def test_a_stopped_release_is_stopped_under_every_name(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    release = agent_release(slug=name.removesuffix("-test"))
    names = [name, f"other-{name}"]
    for each in names:
        studio.place(each, release)
    studio.stop(releases=[release.digest])
    for each in names:
        assert error_of(gateway.ask(key, name=each))["code"] == "stopped"


def test_a_stopped_canary_gives_its_callers_back(studio: Studio, name: str, call: Any) -> None:
    slug = name.removesuffix("-test")
    stable, canary = agent_release(slug=slug, version=1), agent_release(slug=slug, version=2)
    studio.place(name, stable)
    studio.canary(name, canary)
    studio.route(name, canary.digest, 100)
    assert call(session_id="s").json()["release"] == canary.digest
    stop = studio.stop(releases=[canary.digest])
    assert call(session_id="s").json()["release"] == stable.digest
    whole = studio.stop(name)
    assert error_of(call(session_id="s"))["code"] == "stopped", "a stop of the name stops both"
    studio.lift(whole["name"])
    studio.lift(stop["name"])
    assert call(session_id="s").json()["release"] == canary.digest


def test_a_retried_stop_is_acknowledged_the_same(studio: Studio, name: str) -> None:
    first = studio.stop(name, stop_id="f00d00d1ce")
    again = studio.stop(name, stop_id="f00d00d1ce")
    assert again == {**first, "outcome": "same"}


@pytest.mark.parametrize(
    "payload", [{}, {"registrations": []}, {"registrations": ["x@canary"]}, {"releases": ["x"]}, {"all": True}]
)
def test_a_stop_of_nothing_is_refused(studio: Studio, payload: dict[str, Any]) -> None:
    request = studio.request(STOP, STOP_ID, Stop(registrations=[AGENT]), 1)
    answer = studio.send(STOP, STOP_ID, {**request.body(STOP), "stop": payload})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_release")
    named = studio.send(STOP, "Not-an-id", request.body(STOP))
    assert (named.status_code, error_of(named)["path"]) == (400, "name")


def test_processes_on_one_store_stop_without_being_asked(
    fresh_gateway: MakeGateway, model: ModelServer, gate: threading.Event, background: InBackground
) -> None:
    first = fresh_gateway().start()
    second = GatewayProcess(
        first.folder, first.model_base_url, organization_key=first.organization_key, token=first.token
    ).start()
    try:
        studio = first.admin()
        studio.place(AGENT, agent_release())
        key = studio.issue()
        model.says("never", gate=gate)
        background.start(lambda: second.ask(key))
        wait_until(lambda: model.requests)
        studio.stop(AGENT)
        # Nobody sends the second process a request: it notices by itself, and its model's call ends.
        (answer,) = background.answers()
        assert (answer.status_code, error_of(answer)["code"]) == (403, "stopped")
        assert not gate.is_set()
        (record,) = second.admin().executions()["items"]
        assert (record["status"], record["error_code"]) == ("cancelled", "stopped")
    finally:
        gate.set()
        second.stop()


def read_events_of(response: httpx.Response) -> list[tuple[str, Any]]:
    assert response.status_code == 200, response.text
    return read_events(response)


def _begin_and_end(record: dict[str, Any]) -> tuple[float, float]:
    began = datetime.fromisoformat(record["started_at"]).timestamp()
    return began, began + record["duration_ms"] / 1_000


def _live_stops(studio: Studio) -> int:
    items = studio.state(items=True)["items"]
    return sum(item["kind"] == "stop" and not item["tombstone"] for item in items)


@asynccontextmanager
async def mcp_session(gateway: GatewayProcess, key: KeyText) -> AsyncIterator[ClientSession]:
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {key.text}"}, timeout=30) as client,
        streamable_http_client(f"{gateway.address}/mcp", http_client=client) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session
