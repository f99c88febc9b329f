"""Three gateways behind a load balancer, with one Redis: any of them can answer, and together they count as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from contract.caller_keys import CallerKey, KeyText
from contract.kinds import API_KEY
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import AGENT, GatewayProcess, Studio, agent_release, error_of, wait_until
from tests.harness.round_robin import RoundRobin
from tests.harness.valkey import PASSWORD, ValkeyServer


@dataclass
class Replicas:
    """The three, what they share, and what stands before them."""

    gateways: list[GatewayProcess]
    studios: list[Studio]
    valkey: ValkeyServer
    balancer: RoundRobin

    def issue(self, **limits: object) -> KeyText:
        """A key that all of them accept."""
        key = KeyText.generate()
        payload = CallerKey.parse({"hash": key.hash, "scopes": ["*"], "limits": limits})
        for studio in self.studios:
            studio.put(API_KEY, key.id, payload)
        return key

    def caller(self, key: KeyText) -> httpx.Client:
        """A client whose every request goes to the next gateway."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.balancer.port}", timeout=60,
            headers={"Authorization": f"Bearer {key.text}", "Connection": "close"},
        )  # fmt: skip

    def ask(self, key: KeyText, message: str = "Hi", **members: object) -> httpx.Response:
        with self.caller(key) as client:
            body = {"inputs": {"message": message}, **members}
            return client.post(f"/workflows/{AGENT}/execute", json=body)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[Replicas]:
    folder: Path = tmp_path_factory.mktemp("replicas")
    valkey = ValkeyServer(folder / "valkey").start()
    shared = {"GATEWAY_REDIS_URL": valkey.url, "GATEWAY_REDIS_GROUP": "eu"}
    gateways = [GatewayProcess(folder / str(number), model_server.base_url, extra=shared) for number in range(3)]
    try:
        studios = [gateway.start().admin() for gateway in gateways]
        for studio in studios:
            studio.place(AGENT, agent_release(memory=True))
            # Loaded before it matters: the first execution of a process takes seconds.
            assert studio._gateway.ask(studio.issue()).status_code == 200
        with RoundRobin([gateway.port for gateway in gateways]) as balancer:
            yield Replicas(gateways, studios, valkey, balancer)
    finally:
        for gateway in gateways:
            gateway.kill()
        valkey.kill()


def test_a_conversation_goes_on_at_any_of_them(replicas: Replicas, model: ModelServer) -> None:
    key = replicas.issue()
    for text in ("one", "two", "three", "four"):
        assert replicas.ask(key, text, session_id="s").status_code == 200
    said = [message["content"] for message in model.requests[-1]["messages"][1:]]
    assert said == ["one", "You said: one", "two", "You said: two", "three", "You said: three", "four"]
    assert all(replicas.balancer.served[gateway.port] for gateway in replicas.gateways)
    with replicas.caller(key) as client:
        for _ in range(3):
            (listed,) = client.get("/sessions").json()["items"]
            assert (listed["registration"], listed["session_id"]) == (AGENT, "s")
        read = client.get(f"/sessions/{AGENT}/s").json()
        assert read["messages"][-1]["content"] == "You said: four"
        assert client.delete(f"/sessions/{AGENT}/s").status_code == 204
        assert {client.get(f"/sessions/{AGENT}/s").status_code for _ in range(3)} == {404}
    with replicas.caller(replicas.issue()) as stranger:
        assert stranger.get("/sessions").json()["items"] == []


def test_requests_are_counted_together_to_the_last(replicas: Replicas) -> None:
    key = replicas.issue(requests_per_minute=20)
    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(lambda _: replicas.ask(key).status_code, range(48)))
    assert statuses == [200] * 20 + [429] * 28


def test_executions_at_once_and_budgets_are_counted_together(replicas: Replicas, model: ModelServer) -> None:
    key = replicas.issue(concurrent=2, budget={"amount": 40, "unit": "tokens", "window": "month"})
    gate = threading.Event()
    model.says("Late.", gate=gate)
    with ThreadPoolExecutor(2) as pool:
        # The first alone sets the whole budget aside, since nothing bounds its answer.
        first = pool.submit(replicas.ask, key)
        wait_until(lambda: model.requests)
        over = replicas.ask(key)
        assert (over.status_code, error_of(over)["code"]) == (429, "limit_reached")
        gate.set()
        assert first.result().status_code == 200
    spent, answers = 0, []
    while (answer := replicas.ask(key)).status_code == 200:
        usage = answer.json()["usage"]
        spent += usage["input_tokens"] + usage["output_tokens"]
        answers.append(answer)
        assert len(answers) < 20
    assert (answer.status_code, error_of(answer)["code"]) == (402, "budget_spent")
    assert 30 <= spent <= 50


def test_a_result_can_be_asked_for_and_cancelled_anywhere(replicas: Replicas, model: ModelServer) -> None:
    key = replicas.issue()
    gate = threading.Event()
    model.says("Here you are.", gate=gate)
    location = replicas.ask(key, mode="async").headers["Location"]
    with replicas.caller(key) as client:
        assert {client.get(location).json()["status"] for _ in range(3)} == {"running"}
        gate.set()
        wait_until(lambda: client.get(location).json()["status"] == "finished")
        assert {client.get(location).json()["result"]["outputs"]["text"] for _ in range(3)} == {"Here you are."}
        asked = len(model.requests)
        model.says("Never.", gate=threading.Event())
        location = replicas.ask(key, mode="async").headers["Location"]
        wait_until(lambda: len(model.requests) > asked)
        assert client.delete(location).status_code == 204
        assert model.abandoned.wait(20)
        assert client.get(location).status_code == 404


def test_a_killed_replica_gives_its_places_back_and_its_results_are_interrupted(
    replicas: Replicas, model: ModelServer
) -> None:
    key = replicas.issue(concurrent=1)
    victim = replicas.gateways[0]
    model.says("Never.", gate=threading.Event())
    location = victim.ask(key, mode="async").headers["Location"]
    wait_until(lambda: model.requests)
    assert replicas.gateways[1].ask(key).status_code == 429
    victim.kill()
    try:
        model.says("Fine.")
        wait_until(lambda: replicas.gateways[1].ask(key).status_code == 200)
        with replicas.gateways[2].caller(key) as client:
            wait_until(lambda: client.get(location).json()["status"] == "finished")
            assert client.get(location).json()["error"]["code"] == "interrupted"
    finally:
        victim.start()


def test_without_redis_nothing_is_unlimited_and_nothing_pretends(replicas: Replicas, model: ModelServer) -> None:
    limited, free = replicas.issue(requests_per_minute=50), replicas.issue()
    assert replicas.ask(limited).status_code == 200
    replicas.valkey.kill()
    asked = len(model.requests)
    try:
        calls: list[Callable[[], httpx.Response]] = [
            lambda: replicas.ask(limited),
            lambda: replicas.ask(free, session_id="s"),
            lambda: replicas.ask(free, mode="async"),
        ]
        for call in calls:
            answer = call()
            assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
            assert int(answer.headers["Retry-After"]) >= 1
        with replicas.caller(free) as client:
            assert client.get("/sessions").status_code == 503
            assert client.get("/executions/exe_1").status_code == 503
        assert len(model.requests) == asked
        # What needs nothing of it is served.
        assert replicas.ask(free).status_code == 200
    finally:
        replicas.valkey.start()
    wait_until(lambda: replicas.ask(limited).status_code == 200)
    assert '"requests";r=4' in replicas.ask(limited).headers["RateLimit"]
    assert all(PASSWORD not in gateway.log for gateway in replicas.gateways)


def test_everything_in_redis_ends_by_itself(replicas: Replicas) -> None:
    key = replicas.issue(requests_per_minute=50, budget={"amount": 10_000, "unit": "tokens", "window": "day"})
    assert replicas.ask(key, session_id="s").status_code == 200
    assert replicas.ask(key, mode="async").status_code == 202
    client = replicas.valkey.client
    names = list(client.scan_iter(f"kaizen:eu:{{{key.id}}}:*"))
    assert len(names) >= 6
    assert all(client.ttl(name) > 0 or not client.exists(name) for name in names)
