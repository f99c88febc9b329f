"""Starts, stops, kills and losses: what a gateway keeps, and what it forgets."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable

import httpx
import pytest

from contract.caller_keys import KeyText
from contract.kinds import API_KEY
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import (
    AGENT,
    GatewayProcess,
    agent_release,
    error_of,
    wait_until,
)

MakeGateway = Callable[..., GatewayProcess]


def test_after_kill_9_it_answers_the_same(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(memory=True), 3)
    key, revoked = studio.issue(), studio.issue()
    studio.delete(API_KEY, revoked.id, 2)
    before = studio.state(items=True)
    assert gateway.ask(key, "one", session_id="s").json()["outputs"] == {"text": "You said: one"}

    gateway.kill()
    gateway.start()

    after = gateway.admin().state(items=True)
    same = ("gateway_id", "public_key", "revision", "state_digest", "items", "registrations")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["boot_id"] != before["boot_id"]
    assert gateway.ask(key, "two", session_id="s").json()["outputs"] == {"text": "You said: two"}
    assert len(model.requests[-1]["messages"]) == 4, "the session must survive"
    assert gateway.ask(revoked).status_code == 401
    assert gateway.admin().place(AGENT, agent_release(), 2)["outcome"] == "stale"


@pytest.mark.slow
def test_kill_9_in_the_middle_of_pushes_loses_nothing_that_was_acknowledged(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    acknowledged: dict[str, int] = {}
    for generation in (1, 2, 3):
        studio = gateway.admin()
        enough = threading.Event()
        killer = threading.Thread(target=_kill_after, args=(gateway, enough))
        killer.start()
        with contextlib.suppress(httpx.HTTPError):
            for number in itertools.count():
                name = f"agent-{number}-test"
                studio.place(name, agent_release(version=generation), generation)
                acknowledged[name] = generation
                if number == 7 * generation:
                    enough.set()
        killer.join()
        gateway.start()
        items = {item["name"]: item["generation"] for item in gateway.admin().state(items=True)["items"]}
        assert all(items.get(name, 0) >= held for name, held in acknowledged.items())


def test_a_wiped_store_is_the_same_gateway_with_nothing_on_it(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(), 3)
    key = studio.issue()
    assert gateway.ask(key).status_code == 200
    before, epoch = studio.state(), studio.executions()["epoch"]

    gateway.stop()
    gateway.wipe_store()
    gateway.start()

    studio = gateway.admin()
    after = studio.state(items=True)
    assert (after["gateway_id"], after["public_key"]) == (before["gateway_id"], before["public_key"])
    assert (after["items"], after["revision"]) == ([], 0)
    assert after["execution_epoch"] != epoch
    assert studio.executions()["items"] == []
    assert studio.place(AGENT, agent_release(), 3)["outcome"] == "applied"


def test_a_clean_stop_loses_no_execution(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    ids = [gateway.ask(key).json()["execution_id"] for _ in range(5)]
    assert gateway.stop() == 0
    gateway.start()
    page = gateway.admin().executions()
    assert [record["execution_id"] for record in page["items"]] == ids
    assert [record["seq"] for record in page["items"]] == [1, 2, 3, 4, 5]


def test_sigterm_lets_running_executions_finish(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    answers: list[httpx.Response] = []
    running = threading.Thread(target=lambda: answers.append(gateway.ask(key)))
    running.start()
    wait_until(lambda: model.requests)
    gateway.terminate()
    time.sleep(0.3)
    gate.set()
    running.join()
    assert gateway.wait() == 0
    assert answers[0].json()["outputs"] == {"text": "finished"}
    gateway.start()
    assert [record["status"] for record in gateway.admin().executions()["items"]] == ["succeeded"]


def test_sigterm_does_not_wait_for_ever(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_DRAIN_SECONDS="1").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    model.says("never", gate=threading.Event())
    running = threading.Thread(target=_ask_ignoring_errors, args=(gateway, key))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 20, "the model never answers, and would hold it for ever"
    running.join()
    gateway.start()
    assert [record["status"] for record in gateway.admin().executions()["items"]] == ["cancelled"]


def test_a_drained_gateway_refuses_callers_and_serves_studio(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    answers: list[httpx.Response] = []
    running = threading.Thread(target=lambda: answers.append(gateway.ask(key)))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
    drained = studio.http.post("/admin/v1/drain")
    assert drained.json() == {"draining": True, "in_flight": 1}
    refused = gateway.ask(key)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "draining")
    assert refused.headers["Retry-After"]
    assert httpx.get(f"{gateway.address}/readyz").status_code == 503
    assert httpx.get(f"{gateway.address}/healthz").status_code == 200
    assert studio.state()["draining"] is True
    assert studio.place(AGENT, agent_release(version=2), 2)["outcome"] == "applied"
    gate.set()
    running.join()
    assert answers[0].status_code == 200


def test_a_replacement_under_load_fails_no_call(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(instructions="generation 1"), 1)
    key = studio.issue()
    assert gateway.ask(key).status_code == 200
    model.reply = lambda body: Reply([body["messages"][0]["content"]])
    problems: list[str] = []
    acknowledged = [1]
    stop = threading.Event()

    def load() -> None:
        with gateway.caller(key) as client:
            while not stop.is_set():
                least = acknowledged[0]
                answer = client.post(f"/workflows/{AGENT}/execute", json={"inputs": {"message": "x"}})
                served = answer.json().get("outputs", {}).get("text", "generation 0")
                if answer.status_code != 200 or int(served.split()[-1]) < least:
                    problems.append(f"{answer.status_code} {answer.text}, at least {least}")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for generation in range(2, 42):
        studio.place(AGENT, agent_release(instructions=f"generation {generation}"), generation)
        acknowledged[0] = generation
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_two_processes_on_one_folder_see_each_others_pushes(fresh_gateway: MakeGateway) -> None:
    first = fresh_gateway().start()
    second = GatewayProcess(
        first.folder, first.model_base_url, organization_key=first.organization_key, token=first.token
    ).start()
    try:
        studio = first.admin()
        studio.place(AGENT, agent_release())
        key = studio.issue()
        assert second.ask(key).status_code == 200
        studio.delete(API_KEY, key.id, 2)
        assert second.ask(key).status_code == 401
        assert second.admin().state()["state_digest"] == studio.state()["state_digest"]
        assert second.admin().state()["gateway_id"] == studio.state()["gateway_id"]
    finally:
        second.stop()


def _kill_after(gateway: GatewayProcess, moment: threading.Event) -> None:
    moment.wait(60)
    gateway.kill()


def _ask_ignoring_errors(gateway: GatewayProcess, key: KeyText) -> None:
    try:
        gateway.ask(key)
    except httpx.HTTPError:
        return
