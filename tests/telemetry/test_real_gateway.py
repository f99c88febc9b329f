"""Executions that a real gateway process ran, brought to Studio by the scanner's own poll."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from apps.audit.models import Event
from apps.gateways.client import GatewayClient
from apps.gateways.models import CallerKey
from apps.telemetry.models import Execution, ExecutionCursor
from apps.telemetry.queries import activity
from contract.admin_api import ExecutionPage
from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.harness.fleet import SYSTEM, Fleet
from tests.harness.world import Inhabited

NAME = "greeter-production"


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def fleet(live_organization: Inhabited, tmp_path: Path, model: ModelServer) -> Iterator[Fleet]:
    """One gateway in production on which the greeter runs. Rows are committed, as in an installation."""
    model.forget()
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    fleet.start_gateway("eu-1")
    _, version = fleet.write_agent("greeter")
    fleet.deploy(version)
    yield fleet
    fleet.stop()


@pytest.fixture
def key(fleet: Fleet) -> KeyText:
    return fleet.issue_key()


def test_calls_over_every_channel_arrive_with_the_next_poll(fleet: Fleet, key: KeyText, model: ModelServer) -> None:
    answer = fleet.call("eu-1", NAME, key)
    assert answer.status_code == 200, answer.text
    assert fleet.call("eu-1", NAME, key, mode="stream", session_id="s-1").status_code == 200
    chat = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}]}
    with fleet.processes["eu-1"].caller(key) as client:
        assert client.post("/v1/chat/completions", json=chat).status_code == 200
    model.says(status=500)
    failed = fleet.call("eu-1", NAME, key)
    assert failed.status_code == 502

    fleet.poll()

    rows = {row.channel: row for row in Execution.objects.filter(status="succeeded")}
    assert rows.keys() == {"api", "stream", "openai"}
    api = rows["api"]
    assert api.execution_id == answer.json()["execution_id"]
    assert api.release_digest == answer.json()["release"]
    assert (api.agent_slug, api.environment.slug, api.key_id) == ("greeter", "production", key.id)
    usage = answer.json()["usage"]
    assert (api.input_tokens, api.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
    assert api.duration_ms > 0
    error = Execution.objects.exclude(status="succeeded").get()
    assert (error.status, error.error_code) == ("failed", "model_failed")
    assert error.execution_id == failed.json()["error"]["execution_id"]
    assert activity(SYSTEM).total.by_status == {"succeeded": 3, "failed": 1}
    assert CallerKey.objects.get(public_id=key.id).last_used_at == max(
        row.started_at for row in Execution.objects.all()
    )


def test_nothing_that_people_wrote_or_read_is_stored(fleet: Fleet, key: KeyText, model: ModelServer) -> None:
    model.says("a very confidential answer")
    fleet.call("eu-1", NAME, key, message="a very secret question")
    fleet.poll()

    (row,) = Execution.objects.values()
    assert "secret question" not in str(row)
    assert "confidential answer" not in str(row)
    assert key.text not in str(row)


def test_a_gateway_that_has_nothing_new_to_tell_is_not_asked(fleet: Fleet, key: KeyText) -> None:
    fleet.call("eu-1", NAME, key)
    fleet.poll()
    read_at = ExecutionCursor.objects.get().collected_at

    fleet.poll()
    assert ExecutionCursor.objects.get().collected_at == read_at

    fleet.call("eu-1", NAME, key)
    fleet.poll()
    assert Execution.objects.count() == 2


def test_polling_again_adds_nothing(fleet: Fleet, key: KeyText) -> None:
    fleet.call("eu-1", NAME, key)
    fleet.poll()
    fleet.poll()
    fleet.poll()

    assert Execution.objects.count() == 1 == activity(SYSTEM).total.executions


def test_executions_before_a_kill_and_after_it_are_all_there_once(fleet: Fleet, key: KeyText) -> None:
    process = fleet.processes["eu-1"]
    for _ in range(3):
        fleet.call("eu-1", NAME, key)
    # The log is written a moment behind the answers; this call reads it to its end and so makes it durable.
    process.admin().executions()
    process.kill()
    process.start()
    fleet.call("eu-1", NAME, key)

    fleet.poll()

    assert list(Execution.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4]
    assert not Event.objects.filter(action="gateway.lose-execution-log").exists()


def test_a_gateway_that_lost_its_log_tells_a_new_epoch(fleet: Fleet, key: KeyText) -> None:
    process = fleet.processes["eu-1"]
    for _ in range(3):
        fleet.call("eu-1", NAME, key)
    fleet.poll()
    process.stop()
    process.wipe_store()
    process.start()
    # The store is gone as well: the reconciler brings agent and key back before anybody can call again.
    fleet.poll()
    fleet.reconcile()
    assert fleet.call("eu-1", NAME, key).status_code == 200

    fleet.poll()

    assert Execution.objects.count() == 4 == activity(SYSTEM).total.executions
    assert Execution.objects.values("epoch").distinct().order_by().count() == 2
    lost = Event.objects.get(action="gateway.lose-execution-log")
    assert (lost.resource_label, lost.detail["read_until"]) == ("eu-1", 3)


def test_the_gateway_is_asked_outside_any_transaction(
    fleet: Fleet, key: KeyText, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.call("eu-1", NAME, key)
    ask, seen = GatewayClient.executions, []

    def watched(client: GatewayClient, *, after: int, limit: int) -> ExecutionPage:
        seen.append(connection.in_atomic_block)
        return ask(client, after=after, limit=limit)

    monkeypatch.setattr(GatewayClient, "executions", watched)
    fleet.poll()

    assert seen
    assert not any(seen)
    assert Execution.objects.count() == 1
