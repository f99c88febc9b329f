"""Server-sent events: tokens arrive while the model speaks, and failures are told."""

from __future__ import annotations

import json
import threading

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    read_events,
)

PIECES = ("Good ", "day, ", "dear ", "friend.")


def test_tokens_arrive_while_the_model_speaks(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says(*PIECES, gate=gate)
    body = {"inputs": {"message": "Hi"}, "mode": "stream"}
    with (
        gateway.caller(key) as client,
        client.stream("POST", f"/workflows/{name}/execute", json=body) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        # The model waits at the gate after its first piece, so this line was sent before the answer was complete.
        seen = next(line for line in lines if "Good " in line)
        gate.set()
        rest = list(lines)
    assert seen == 'data: {"text":"Good "}'
    done = json.loads(rest[rest.index("event: done") + 1].removeprefix("data: "))
    assert done["outputs"] == {"text": "".join(PIECES)}
    assert done["usage"] == {"input_tokens": 4, "output_tokens": 4}
    (record,) = executions_of(studio, name, 1)
    assert (record["channel"], record["status"], record["output_tokens"]) == ("stream", "succeeded", 4)
    assert record["execution_id"] == done["execution_id"]


def test_events_come_in_order(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    model.says(*PIECES)
    body = {"inputs": {"message": "Hi"}, "mode": "stream"}
    with gateway.caller(key) as client, client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
        events = read_events(answer)
    assert [event for event, _ in events] == ["started", "token", "token", "token", "token", "done"]
    assert "".join(content["text"] for event, content in events if event == "token") == "".join(PIECES)
    assert events[0][1]["execution_id"] == events[-1][1]["execution_id"]


def test_a_failure_before_the_first_word_has_its_status(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    model.says("x", status=500)
    with gateway.caller(key) as client:
        path = f"/workflows/{name}/execute"
        failed = client.post(path, json={"inputs": {"message": "Hi"}, "mode": "stream"})
        refused = client.post(path, json={"inputs": {"nothing": "Hi"}, "mode": "stream"})
    assert (failed.status_code, error_of(failed)["code"]) == (502, "model_failed")
    assert (refused.status_code, error_of(refused)["code"]) == (422, "invalid_input")


def test_a_failure_in_the_middle_ends_with_an_error(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    model.says(*PIECES, cut=2)
    body = {"inputs": {"message": "Hi"}, "mode": "stream"}
    with gateway.caller(key) as client, client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
        events = read_events(answer)
    assert [event for event, _ in events] == ["started", "token", "token", "error"]
    assert events[-1][1]["error"]["code"] == "model_failed"
    (record,) = executions_of(studio, name, 1)
    assert record["status"] == "failed"


def test_when_the_caller_leaves_the_model_call_ends(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says(*PIECES, gate=gate)
    body = {"inputs": {"message": "Hi"}, "mode": "stream"}
    with gateway.caller(key) as client, client.stream("POST", f"/workflows/{name}/execute", json=body) as answer:
        next(line for line in answer.iter_lines() if "Good " in line)
    assert model.abandoned.wait(5)
    gate.set()
    (record,) = executions_of(studio, name, 1)
    assert record["status"] == "cancelled"
