"""Executions in the background: begun with 202, asked for, cancelled, stopped, interrupted, forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx

from contract.caller_keys import KeyText
from gateway_service.execution.results import RESULT_MAX_BYTES, KeptExecution
from gateway_service.store.sqlite_results import SqliteResults
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import AGENT, GatewayProcess, Studio, agent_release, error_of, executions_of, wait_until


def begin(gateway: GatewayProcess, key: KeyText, name: str = AGENT, **members: Any) -> str:
    """Call in the background; returns where to ask."""
    answer = gateway.ask(key, name=name, mode="async", **members)
    assert answer.status_code == 202, answer.text
    location = answer.headers["Location"]
    assert location == f"/executions/{answer.json()['execution_id']}"
    assert answer.json()["status"] == "running"
    return location


def ask(gateway: GatewayProcess, key: KeyText, location: str) -> httpx.Response:
    with gateway.caller(key) as client:
        return client.get(location)


def ending(gateway: GatewayProcess, key: KeyText, location: str) -> dict[str, Any]:
    """What became of it, as soon as it has ended."""
    shown: dict[str, Any] = {}

    def ended() -> bool:
        shown.update(ask(gateway, key, location).json())
        return bool(shown["status"] == "finished")

    wait_until(ended)
    return shown


def test_a_call_in_the_background_is_answered_later(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says("Here you are.", gate=gate)
    location = begin(gateway, key, name)
    running = ask(gateway, key, location)
    assert running.json()["status"] == "running"
    assert running.headers["Retry-After"] == "1"
    gate.set()
    shown = ending(gateway, key, location)
    sync = gateway.ask(key, name=name).json()
    assert shown["result"].keys() == sync.keys()
    assert shown["result"]["outputs"] == {"text": "Here you are."}
    assert shown["result"]["execution_id"] == shown["execution_id"] == location.rpartition("/")[2]
    assert shown["started_at"] < shown["finished_at"] < shown["expires_at"]
    recorded = executions_of(studio, name, 2)[0]
    assert (recorded["execution_id"], recorded["status"]) == (shown["execution_id"], "succeeded")


def test_a_failure_is_kept_as_its_error(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    model.says(status=500)
    shown = ending(gateway, key, begin(gateway, key, name))
    assert shown["error"]["code"] == "model_failed"
    assert shown["error"]["execution_id"] == shown["execution_id"]
    assert "result" not in shown


def test_what_cannot_begin_is_refused_at_once(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = studio.issue(limits={"requests_per_minute": 1})
    with gateway.caller(key) as client:
        wrong = client.post(f"/workflows/{name}/execute", json={"inputs": {"foreign": 1}, "mode": "async"})
    assert (wrong.status_code, error_of(wrong)["code"]) == (422, "invalid_input")
    first = gateway.ask(key, name=name, mode="async")
    assert first.status_code == 202
    assert '"requests";r=0;' in first.headers["RateLimit"]
    over = gateway.ask(key, name=name, mode="async")
    assert (over.status_code, error_of(over)["code"]) == (429, "limit_reached")
    stop = studio.stop(name)
    assert gateway.ask(studio.issue(), name=name, mode="async").status_code == 403
    studio.lift(stop["name"])


def test_only_the_key_that_began_it_sees_it(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    location = begin(gateway, key, name)
    ending(gateway, key, location)
    with gateway.caller(studio.issue()) as stranger:
        unknown = stranger.get("/executions/exe_0")
        for answer in (stranger.get(location), stranger.delete(location)):
            assert answer.status_code == 404
            assert answer.json() == unknown.json()
    with gateway.caller() as nobody:
        assert nobody.get(location).status_code == 401
    assert ask(gateway, key, location).status_code == 200


def test_cancelling_reaches_the_model(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    model.says("Never.", gate=threading.Event())
    location = begin(gateway, key, name)
    wait_until(lambda: model.requests)
    with gateway.caller(key) as client:
        assert client.delete(location).status_code == 204
        assert client.get(location).status_code == 404
        assert client.delete(location).status_code == 404
    assert model.abandoned.wait(10)
    assert executions_of(studio, name, 1)[0]["status"] == "cancelled"


def test_a_stop_ends_it(gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str) -> None:
    studio.place(name, agent_release())
    model.says("Never.", gate=threading.Event())
    location = begin(gateway, key, name)
    wait_until(lambda: model.requests)
    studio.stop(name)
    assert ending(gateway, key, location)["error"]["code"] == "stopped"


def test_results_survive_a_restart(fresh_gateway: Callable[..., GatewayProcess], model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    done = begin(gateway, key)
    expected = ending(gateway, key, done)
    gate = threading.Event()
    model.says("Just in time.", gate=gate)
    before = len(model.requests)
    finishing = begin(gateway, key)
    wait_until(lambda: len(model.requests) > before)
    gateway.terminate()
    gate.set()
    assert gateway.wait() == 0
    gateway.start()
    assert ask(gateway, key, done).json() == expected
    assert ask(gateway, key, finishing).json()["result"]["outputs"] == {"text": "Just in time."}


def test_what_a_stopping_gateway_could_not_finish_was_interrupted(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    gateway = fresh_gateway(GATEWAY_DRAIN_SECONDS="0").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    model.says("Never.", gate=threading.Event())
    location = begin(gateway, key)
    wait_until(lambda: model.requests)
    assert gateway.stop() == 0
    gateway.start()
    shown = ask(gateway, key, location).json()
    assert (shown["status"], shown["error"]["code"]) == ("finished", "interrupted")


def test_what_a_killed_gateway_ran_was_interrupted_and_runs_no_more(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    model.says("Never.", gate=threading.Event())
    location = begin(gateway, key)
    wait_until(lambda: model.requests)
    gateway.kill()
    gateway.start()
    assert ending(gateway, key, location)["error"]["code"] == "interrupted"
    assert len(model.requests) == 1


def test_another_process_on_the_store_answers_and_cancels(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer
) -> None:
    first = fresh_gateway().start()
    second = fresh_gateway(GATEWAY_DATA_DIR=str(first.data_dir))
    second.organization_key, second.token = first.organization_key, first.token
    second.start()
    first.admin().place(AGENT, agent_release())
    key = first.admin().issue()
    model.says("Never.", gate=threading.Event())
    location = begin(first, key)
    wait_until(lambda: model.requests)
    assert ask(second, key, location).json()["status"] == "running"
    with second.caller(key) as client:
        assert client.delete(location).status_code == 204
    assert model.abandoned.wait(10)
    assert ask(first, key, location).status_code == 404


def test_a_result_that_is_too_large_is_not_kept(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release())
    model.says("x" * RESULT_MAX_BYTES)
    shown = ending(gateway, key, begin(gateway, key, name))
    assert shown["error"]["code"] == "invalid_output"
    assert str(RESULT_MAX_BYTES) in shown["error"]["message"]


def kept(number: int, *, key_id: str = "key", **members: Any) -> KeptExecution:
    at = float(number)
    return KeptExecution(f"exe_{number}", key_id, "a-test", at, at + 10_000, at + 15, **members)


async def test_the_oldest_results_of_a_key_make_room(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway_service.store.sqlite_results.RESULTS_PER_KEY", 3)
    monkeypatch.setattr("gateway_service.store.sqlite_results.BYTES_PER_KEY", 100)
    results = SqliteResults(tmp_path)
    await results.begin(kept(0, key_id="other"))
    for number in range(1, 5):
        await results.begin(kept(number))
        if number > 1:
            await results.finish(kept(number, finished_at=number, ending=b"{}"))
    # The first still runs; of the others the newest two have room beside the one that begins.
    await results.begin(kept(5))
    assert [number for number in range(6) if await results.find("key", f"exe_{number}")] == [1, 3, 4, 5]
    await results.finish(kept(5, finished_at=5, ending=b"x" * 90))
    await results.begin(kept(6))
    assert [number for number in range(7) if await results.find("key", f"exe_{number}")] == [1, 4, 5, 6]
    await results.finish(kept(6, finished_at=6, ending=b"x" * 90))
    await results.begin(kept(7))
    assert [number for number in range(8) if await results.find("key", f"exe_{number}")] == [1, 6, 7]
    assert await results.find("other", "exe_0")
    # What has expired goes with whatever begins next.
    await results.begin(kept(20_000))
    assert [number for number in range(8) if await results.find("key", f"exe_{number}")] == []
    await results.close()
