"""Routes: who goes to a canary, who stays, and that nobody can tell a canary by its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

import httpx
import openai
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from contract.caller_keys import KeyText
from contract.errors import ErrorCode
from contract.kinds import API_KEY, ROUTE, WORKFLOW
from contract.names import canary_name
from contract.release import Release
from contract.routes import Route, bucket_of
from tests.doubles.model_server import ModelServer
from tests.gateway_service.test_command_lines import run
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    read_events,
)

MakeGateway = Callable[..., GatewayProcess]

OLD = agent_release(version=1, instructions="old")
NEW = agent_release(version=2, instructions="new")


def body(session: str | None = None, **members: object) -> dict[str, object]:
    return {"inputs": {"message": "Hi"}, **({"session_id": session} if session else {}), **members}


def split(studio: Studio, name: str, percent: int, *, canary: Release = NEW, generation: int = 1) -> None:
    """A registration with a canary that takes a part of its callers."""
    studio.place(name, OLD)
    studio.canary(name, canary)
    studio.route(name, canary.digest, percent, generation)


@pytest.fixture
def served(gateway: GatewayProcess, key: KeyText, name: str) -> Iterator[Callable[[str | None], Release]]:
    """Which release answers a session of the shared key."""
    with gateway.caller(key) as client:

        def ask(session: str | None) -> Release:
            answer = client.post(f"/workflows/{name}/execute", json=body(session))
            assert answer.status_code == 200, answer.text
            return {OLD.digest: OLD, NEW.digest: NEW}[answer.json()["release"]]

        yield ask


def test_a_session_sticks_to_its_side_on_every_gateway_and_rises_with_the_percent(
    fresh_gateway: MakeGateway, name: str
) -> None:
    gateways = [fresh_gateway().start(), fresh_gateway().start()]
    studios = [gateway.admin() for gateway in gateways]
    key = studios[0].issue()
    for studio in studios:
        split(studio, name, 1)
    with gateways[0].caller(key) as client:
        payload = {"hash": key.hash, "scopes": ["*"]}
        studios[1].put(API_KEY, key.id, API_KEY.payload.parse(payload))
    sessions = [f"session-{number}" for number in range(60)]
    taken: list[set[str]] = []
    for generation, percent in enumerate((1, 5, 25, 60, 100), start=2):
        on_each = []
        for gateway, studio in zip(gateways, studios, strict=True):
            studio.route(name, NEW.digest, percent, generation)
            with gateway.caller(key) as client:
                on_each.append(
                    {
                        session
                        for session in sessions
                        if client.post(f"/workflows/{name}/execute", json=body(session)).json()["release"] == NEW.digest
                    }
                )
        assert on_each[0] == on_each[1], "a load balancer must not change what a session meets"
        assert on_each[0] == {each for each in sessions if bucket_of(name, key.id, each) < percent * 100}
        taken.append(on_each[0])
    assert all(fewer <= more for fewer, more in pairwise(taken)), "nobody goes back and forth"
    assert taken[-1] == set(sessions)
    assert set() < taken[2] < set(sessions)


def test_calls_without_a_session_are_split_by_chance(
    studio: Studio, name: str, served: Callable[[str | None], Release]
) -> None:
    split(studio, name, 50)
    counted = Counter(served(None).subject.version for _ in range(80))
    # Each side misses out altogether in one of 10^24 runs.
    assert set(counted) == {1, 2}


def test_only_the_release_that_the_route_names_takes_calls(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, served: Callable[[str | None], Release]
) -> None:
    studio.place(name, OLD)
    studio.route(name, NEW.digest, 100)
    assert served("s") is OLD, "there is no canary yet"
    studio.canary(name, agent_release(version=3), 1)
    assert served("s") is OLD, "the canary is another release"
    studio.canary(name, NEW, 2)
    assert served("s") is NEW
    assert studio.delete(ROUTE, name, 2).json()["outcome"] == "applied"
    assert served("s") is OLD, "the route is gone"
    studio.route(name, NEW.digest, 100, 3)
    assert served("s") is NEW
    studio.delete(WORKFLOW, canary_name(name), 3)
    assert served("s") is OLD, "the canary is gone"
    studio.canary(name, NEW, 4)
    studio.delete(WORKFLOW, name, 2)
    with gateway.caller(key) as client:
        assert client.post(f"/workflows/{name}/execute", json=body("s")).status_code == 404
        assert client.get(f"/workflows/{name}").status_code == 404
        assert name not in client.get("/workflows").json()


def test_a_route_moves_through_its_generations(
    studio: Studio, name: str, served: Callable[[str | None], Release]
) -> None:
    split(studio, name, 100, generation=5)
    assert studio.route(name, NEW.digest, 100, 5)["outcome"] == "same"
    assert studio.route(name, OLD.digest, 1, 4)["outcome"] == "stale"
    conflict = studio.send(
        ROUTE, name, studio.request(ROUTE, name, Route(canary=NEW.digest, percent=1), 5).body(ROUTE)
    )  # fmt: skip
    assert (conflict.status_code, error_of(conflict)["code"]) == (409, "conflict")
    assert served("s") is NEW


@pytest.mark.parametrize(
    "payload",
    [{"canary": NEW.digest, "percent": 0}, {"canary": NEW.digest, "percent": 101}, {"canary": "x", "percent": 5}, {}],
)
def test_a_route_that_means_nothing_is_refused(studio: Studio, name: str, payload: dict[str, object]) -> None:
    request = studio.request(ROUTE, name, Route(canary=NEW.digest, percent=5), 1)
    answer = studio.send(ROUTE, name, {**request.body(ROUTE), "route": payload})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "invalid_release")
    named = studio.send(ROUTE, canary_name(name), request.body(ROUTE))
    assert (named.status_code, error_of(named)["path"]) == (400, "name")


def test_inputs_are_checked_against_the_release_that_is_chosen(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    inputs = {"type": "object", "properties": {"message": {"type": "string"}, "city": {"type": "string"}}}
    newer = agent_release(version=2, inputs=inputs)
    split(studio, name, 60, canary=newer)
    sides = {bucket_of(name, key.id, session) < 6_000: session for session in map(str, range(50))}
    with gateway.caller(key) as client:
        asked = {"inputs": {"message": "Hi", "city": "Oslo"}}
        to_canary = client.post(f"/workflows/{name}/execute", json={**asked, "session_id": sides[True]})
        to_release = client.post(f"/workflows/{name}/execute", json={**asked, "session_id": sides[False]})
    assert to_canary.status_code == 200
    assert (to_release.status_code, error_of(to_release)["path"]) == (422, "inputs.city")


def test_callers_cannot_name_a_canary(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    split(studio, name, 1)
    hidden = canary_name(name)
    everything, scoped = studio.issue(), studio.issue(scopes=[name])
    chat = {"model": hidden, "messages": [{"role": "user", "content": "Hi"}]}
    for key, status, unknown in ((everything, 404, "nothing-test"), (scoped, 403, "nothing-test")):
        with gateway.caller(key) as client:
            answers = [
                (
                    client.post(f"/workflows/{path}/execute", json=body()),
                    client.post(f"/workflows/{path}", json={"parameters": {"message": "Hi"}}),
                    client.get(f"/workflows/{path}"),
                    client.get(f"/v1/models/{path}"),
                    client.post("/v1/chat/completions", json={**chat, "model": path}),
                )
                for path in (hidden, unknown)
            ]
        for of_canary, of_nothing in zip(*answers, strict=True):
            assert of_canary.status_code == status
            assert of_canary.json() == of_nothing.json(), "a canary must look like nothing at all"
    with gateway.caller(scoped) as client:
        assert list(client.get("/workflows").json()) == [name]
        assert client.get(f"/workflows/{name}").json()["release"] == OLD.digest
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == [name]
    with pytest.raises(ValueError, match="environment"):
        studio.issue(scopes=[hidden])
    state = studio.state()
    assert state["registrations"] == len(gateway_registrations(gateway, everything))


def gateway_registrations(gateway: GatewayProcess, key: KeyText) -> list[str]:
    with gateway.caller(key) as client:
        return list(client.get("/workflows").json())


async def test_mcp_knows_no_canary(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    split(studio, name, 100)
    key = studio.issue(scopes=[name])
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {key.text}"}, timeout=30) as client,
        streamable_http_client(f"{gateway.address}/mcp", http_client=client) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        assert [tool.name for tool in (await session.list_tools()).tools] == [name]
        named = await session.call_tool(canary_name(name), {"message": "Hi"})
        assert named.isError
        assert (await session.call_tool(name, {"message": "Hi"})).structuredContent == {"text": "You said: Hi"}
    (record,) = executions_of(studio, name, 1)
    assert (record["release_digest"], record["channel"]) == (NEW.digest, "mcp")


def test_an_openai_user_is_sticky(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    split(studio, name, 50)
    client = openai.OpenAI(base_url=f"{gateway.address}/v1", api_key=key.text, max_retries=0)
    by_side = sorted(map(str, range(100)), key=lambda user: bucket_of(name, key.id, user) < 5_000)
    users = [*by_side[:4], *by_side[-4:]]
    for member in ("user", "safety_identifier"):
        for user in users:
            client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": user}], extra_body={member: user}
            )
    records = executions_of(studio, name, 2 * len(users))
    expected = [NEW.digest if bucket_of(name, key.id, user) < 5_000 else OLD.digest for user in users]
    assert [record["release_digest"] for record in records] == 2 * expected
    assert set(expected) == {NEW.digest, OLD.digest}
    assert not any("session_id" in record for record in records), "a user is no session: nothing is remembered"
    with gateway.caller(key) as raw:
        chat = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "user": 7}
        wrong = raw.post("/v1/chat/completions", json=chat)
    assert (wrong.status_code, error_of(wrong)["path"]) == (422, "user")


def test_the_command_line_is_sticky_by_its_session(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    split(studio, name, 50)
    key = studio.issue(scopes=[name])
    sides = {bucket_of(name, key.id, session) < 5_000: session for session in map(str, range(50))}
    for canary, session in sides.items():
        ran = run(
            "gateway_service.cli", "--url", gateway.address, "run", name,
            "--param", "message=Hi", "--session", session, "--json", key=key,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert (NEW.digest in ran.stdout) is canary


def test_a_canary_goes_by_its_registrations_name_everywhere(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    newer = agent_release(version=2, memory=True)
    studio.place(name, agent_release(version=1, memory=True))
    studio.canary(name, newer)
    studio.route(name, newer.digest, 100)
    with gateway.caller(key) as client:
        first = client.post(f"/workflows/{name}/execute", json=body("s")).json()
        stream = client.post(f"/workflows/{name}/execute", json=body("s", mode="stream"))
        done = dict(read_events(stream))["done"]
        # The canary is promoted: the same release, now under the registration's own name.
        studio.place(name, newer, 2)
        studio.delete(ROUTE, name, 2)
        studio.delete(WORKFLOW, canary_name(name), 2)
        client.post(f"/workflows/{name}/execute", json=body("s"))
    assert (first["registration"], first["release"]) == (name, newer.digest)
    assert (done["registration"], done["release"]) == (name, newer.digest)
    said = [message["content"] for message in model.requests[-1]["messages"][1:]]
    assert said == ["Hi", "You said: Hi", "Hi", "You said: Hi", "Hi"], "a conversation survives the promotion"
    records = executions_of(studio, name, 3)
    assert {(record["registration"], record["release_digest"]) for record in records} == {(name, newer.digest)}
    metrics = studio.http.get("/metrics").text
    assert f'kaizen_execution_seconds_count{{registration="{name}",track="canary"}} 2.0' in metrics
    assert f'kaizen_execution_seconds_count{{registration="{name}",track="release"}} 1.0' in metrics
    assert canary_name(name) not in metrics


def test_the_split_survives_kill_9(fresh_gateway: MakeGateway, name: str) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    split(studio, name, 100)
    key = studio.issue()
    before = studio.state()["state_digest"]
    gateway.kill()
    gateway.start()
    assert gateway.ask(key, name=name).json()["release"] == NEW.digest
    assert gateway.admin().state()["state_digest"] == before
    assert ErrorCode.STOPPED not in gateway.log
