"""Limits of a key, met as callers meet them: through a real gateway, over every channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.caller_keys import CallerKey, KeyText
from contract.kinds import API_KEY
from contract.release import Limits
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    AGENT,
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    read_events,
    wait_until,
)


def limited(studio: Studio, **limits: Any) -> KeyText:
    """A key with limits."""
    return studio.issue(limits=limits)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, error_of(answer)["code"]


@contextmanager
def calls_held(
    gateway: GatewayProcess, model: ModelServer, key: KeyText, name: str, count: int, **members: Any
) -> Iterator[None]:
    """So many calls of a key run while the block does."""
    gate, before = threading.Event(), len(model.requests)
    model.says("Late.", gate=gate)
    with ThreadPoolExecutor(count) as pool:
        held = [pool.submit(gateway.ask, key, name=name, **members) for _ in range(count)]
        try:
            wait_until(lambda: len(model.requests) == before + count)
            yield
        finally:
            gate.set()
    assert {call.result().status_code for call in held} == {200}


def test_requests_per_minute_are_counted_to_the_last(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = limited(studio, requests_per_minute=5)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: gateway.ask(key, name=name), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    over = next(answer for answer in answers if answer.status_code == 429)
    assert error_of(over)["code"] == "limit_reached"
    assert over.headers["RateLimit-Policy"] == '"requests";q=5;w=60'
    seconds = int(over.headers["Retry-After"])
    assert 55 <= seconds <= 61
    assert over.headers["RateLimit"] == f'"requests";r=0;t={seconds}'
    assert gateway.ask(studio.issue(), name=name).status_code == 200


def test_every_answer_tells_the_remainder(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = limited(
        studio, requests_per_minute=9, tokens_per_minute=100_000, concurrent=3,
        budget={"amount": 5_000_000, "unit": "tokens", "window": "month"},
    )  # fmt: skip
    plain = gateway.ask(key, name=name)
    policies = plain.headers["RateLimit-Policy"].split(", ")
    assert policies[:3] == [
        '"concurrent";q=3;qu="concurrent-requests"',
        '"requests";q=9;w=60',
        '"tokens";q=100000;qu="tokens";w=60',
    ]
    assert policies[3].startswith('"budget";q=5000000;qu="tokens";w=')
    assert '"requests";r=8;' in plain.headers["RateLimit"]
    assert '"concurrent";r=2;' in plain.headers["RateLimit"]
    with gateway.caller(key) as client:
        body = {"inputs": {"message": "Hi"}, "mode": "stream"}
        streamed = client.post(f"/workflows/{name}/execute", json=body)
        assert read_events(streamed)[-1][0] == "done"
        assert '"requests";r=7;' in streamed.headers["RateLimit"]
        chat = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
        assert '"requests";r=6;' in client.post("/v1/chat/completions", json=chat).headers["RateLimit"]
    assert "RateLimit" not in gateway.ask(studio.issue(), name=name).headers


def test_what_is_refused_costs_nothing(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = limited(studio, requests_per_minute=1, concurrent=1)
    with gateway.caller(key) as client:
        for _ in range(3):
            answer = client.post(f"/workflows/{name}/execute", json={"inputs": {"foreign": 1}})
            assert refused(answer) == (422, "invalid_input")
    assert gateway.ask(key, name=name).status_code == 200
    assert refused(gateway.ask(key, name=name)) == (429, "limit_reached")


def test_only_so_many_run_at_once(gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str) -> None:
    studio.place(name, agent_release())
    key = limited(studio, concurrent=2)
    with calls_held(gateway, model, key, name, 2):
        over = gateway.ask(key, name=name)
        assert refused(over) == (429, "limit_reached")
        assert over.headers["Retry-After"] == "1"
    assert gateway.ask(key, name=name).status_code == 200


def test_a_caller_who_left_holds_no_place(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    key = limited(studio, concurrent=1)
    model.says("One", "two", gate=threading.Event())
    with gateway.caller(key) as client:
        body = {"inputs": {"message": "Hi"}, "mode": "stream"}
        with client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
            next(answer.iter_lines())
    model.says("Fine.")
    wait_until(lambda: gateway.ask(key, name=name).status_code == 200)


def test_tokens_per_minute_are_what_the_model_counted(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release(limits=Limits(max_tokens=10)))
    key = limited(studio, tokens_per_minute=40)
    spent = 0
    while (answer := gateway.ask(key, name=name)).status_code == 200:
        usage = answer.json()["usage"]
        spent += usage["input_tokens"] + usage["output_tokens"]
        assert spent < 60
    # Seven tokens a call: the sixth finds something left, the seventh does not.
    assert spent == 42
    assert refused(answer) == (429, "limit_reached")
    assert '"tokens";r=0;' in answer.headers["RateLimit"]


def test_a_budget_is_reserved_before_it_is_spent(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release(limits=Limits(max_tokens=50)))
    key = limited(studio, budget={"amount": 100, "unit": "tokens", "window": "day"})
    with calls_held(gateway, model, key, name, 2):
        # Together they might spend the whole budget, so a third must wait for what they really spend.
        third = gateway.ask(key, name=name)
        assert refused(third) == (429, "limit_reached")
        assert "set aside" in error_of(third)["message"]
    model.says(*["word "] * 200)
    assert gateway.ask(key, name=name).status_code == 200
    spent = gateway.ask(key, name=name)
    assert refused(spent) == (402, "budget_spent")
    assert '"budget";r=0;' in spent.headers["RateLimit"]


def test_hanging_up_is_no_way_around_a_budget(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    key = limited(studio, budget={"amount": 300, "unit": "tokens", "window": "month"})
    model.says("word " * 400, "more", gate=threading.Event())
    with gateway.caller(key) as client:
        body = {"inputs": {"message": "Hi"}, "mode": "stream"}
        with client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
            assert any("word" in line for line in answer.iter_lines() if line.startswith("data"))
    wait_until(lambda: refused(gateway.ask(key, name=name)) == (402, "budget_spent"))


def test_a_model_that_counts_nothing_is_counted_by_its_words(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    key = limited(studio, tokens_per_minute=100)
    text = "word " * 200
    raw = f'{{"choices": [{{"message": {{"content": "{text}"}}, "finish_reason": "stop"}}]}}'
    model.says(raw=raw.encode())
    assert gateway.ask(key, name=name).status_code == 200
    assert refused(gateway.ask(key, name=name)) == (429, "limit_reached")


def test_a_failing_model_costs_its_caller_nothing(
    gateway: GatewayProcess, studio: Studio, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    key = limited(studio, budget={"amount": 10, "unit": "tokens", "window": "hour"})
    model.says(status=500)
    for _ in range(3):
        assert gateway.ask(key, name=name).status_code == 502
    model.says("Fine.")
    assert gateway.ask(key, name=name).status_code == 200


@pytest.fixture
def priced(fresh_gateway: Callable[..., GatewayProcess], tmp_path: Path, model: ModelServer) -> GatewayProcess:
    """A gateway one of whose profiles has a price."""
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[profiles.priced]\nbase_url = "{model.base_url}"\nmodel = "a-model"\n'
        'input_price = "0.5"\noutput_price = "2"\ncurrency = "EUR"\n'
    )
    return fresh_gateway(GATEWAY_MODEL_PROFILES=str(profiles)).start()


def test_money_is_spent_at_the_prices_of_the_profile(priced: GatewayProcess, model: ModelServer) -> None:
    studio = priced.admin()
    studio.place(AGENT, agent_release(model_profile="priced", limits=Limits(max_tokens=5)))
    # Four words asked and two answered: 4 * 0.5 + 2 * 2 = 6 millionths of a euro.
    model.says("Fine. Thanks.")
    key = limited(studio, budget={"amount": 20, "unit": "EUR", "window": "month"})
    answers = [priced.ask(key) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 402]
    left = [answer.headers["RateLimit"].split(";")[1] for answer in answers]
    assert left[-1] == "r=0"
    assert 'q=20;qu="micro-EUR"' in answers[0].headers["RateLimit-Policy"]


def test_the_execution_log_says_what_each_node_cost(priced: GatewayProcess, model: ModelServer) -> None:
    studio = priced.admin()
    studio.place(AGENT, agent_release(model_profile="priced"))
    studio.place("free-production", agent_release())
    key = studio.issue()
    model.says("Fine. Thanks.")
    # As above, also for a key without a budget; a profile without a price costs nothing that anybody knows.
    for name in (AGENT, "free-production"):
        assert priced.ask(key, name=name).status_code == 200
    wait_until(lambda: len(studio.executions()["items"]) == 2)
    costs = {
        record["registration"]: [node["costs"] for node in record["nodes"]] for record in studio.executions()["items"]
    }
    assert costs == {AGENT: [{"EUR": 6}], "free-production": [{}]}


def test_money_without_a_price_is_not_spent(priced: GatewayProcess) -> None:
    studio = priced.admin()
    studio.place(AGENT, agent_release())
    key = limited(studio, budget={"amount": 20, "unit": "EUR", "window": "month"})
    assert refused(priced.ask(key)) == (402, "unpriced")
    text = KeyText.generate()
    budget = {"amount": 1, "unit": "USD", "window": "day"}
    foreign = CallerKey.parse({"hash": text.hash, "scopes": ["*"], "limits": {"budget": budget}})
    answer = studio.send(API_KEY, text.id, studio.request(API_KEY, text.id, foreign, 1).body(API_KEY))
    assert refused(answer) == (422, "invalid_release")
    assert error_of(answer)["path"] == "key.limits.budget.unit"


def test_counts_survive_a_kill_and_places_do_not(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = limited(studio, requests_per_minute=2)
    assert gateway.ask(key).status_code == 200
    gateway.kill()
    gateway.start()
    assert gateway.ask(key).status_code == 200
    assert gateway.ask(key).status_code == 429


def test_changed_limits_hold_for_the_next_call(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = limited(studio, requests_per_minute=1)
    assert gateway.ask(key, name=name).status_code == 200
    assert gateway.ask(key, name=name).status_code == 429
    wider = CallerKey.parse({"hash": key.hash, "scopes": ["*"], "limits": {"requests_per_minute": 2}})
    studio.put(API_KEY, key.id, wider, 2)
    assert gateway.ask(key, name=name).status_code == 200
    assert gateway.ask(key, name=name).status_code == 429


def test_a_full_gateway_still_serves_those_who_have_less(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    gateway = fresh_gateway(GATEWAY_MAX_CONCURRENT="8").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    greedy, modest = studio.issue(), studio.issue()
    with calls_held(gateway, model, greedy, AGENT, 8):
        over = gateway.ask(greedy)
        assert refused(over) == (503, "overloaded")
        assert over.headers["Retry-After"] == "1"
        model.says("Here you are.")
        assert gateway.ask(modest).status_code == 200
        assert refused(gateway.ask(greedy)) == (503, "overloaded")


def test_two_processes_on_one_store_count_as_one(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    first = fresh_gateway().start()
    second = fresh_gateway(GATEWAY_DATA_DIR=str(first.data_dir))
    second.organization_key, second.token = first.organization_key, first.token
    second.start()
    studio = first.admin()
    studio.place(AGENT, agent_release())
    key = limited(studio, requests_per_minute=10)
    # Loaded before it matters: the first execution of a process takes seconds.
    free = studio.issue()
    assert first.ask(free).status_code == second.ask(free).status_code == 200
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: (first, second)[number % 2].ask(key).status_code, range(24)))
    assert sorted(answers) == [200] * 10 + [429] * 14
