"""What becomes of a model's answers: good ones, broken ones, late ones, none."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from contract.caller_keys import KeyText
from contract.release import Limits
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
    executions_of,
    read_events,
    wait_until,
)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(["x"], status=500), 502, "model_failed"),
        (Reply(["x"], status=429), 502, "model_failed"),
        (Reply(raw=b"not json"), 502, "model_failed"),
        (Reply(raw=b"{}"), 502, "model_failed"),
        (Reply(raw=b'{"choices": [{"message": {"content": null}}]}'), 502, "model_failed"),
        (Reply(["late"], delay_s=1.5), 504, "timed_out"),
    ],
)
def test_a_failing_model_is_reported_without_its_words(
    studio: Studio, name: str, call: Any, model: ModelServer, gateway: GatewayProcess,
    reply: Reply, status: int, code: str,
) -> None:  # fmt: skip
    studio.place(name, agent_release(), 1)
    assert call().status_code == 200, "now everything is loaded that takes its time"
    studio.place(name, agent_release(limits=Limits(timeout_s=0.5)), 2)
    model.reply = lambda _: reply
    answer = call({"message": "my secret prompt"})
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert error_of(answer)["execution_id"].startswith("exe_")
    assert "secret prompt" not in answer.text
    assert "secret prompt" not in gateway.log


def test_a_model_that_is_down_is_502(fresh_gateway: Any, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_MODEL_BASE_URL="http://127.0.0.1:9/v1").start()
    studio = gateway.admin()
    studio.place("greeter-test", agent_release())
    with gateway.caller(studio.issue()) as client:
        answer = client.post("/workflows/greeter-test/execute", json={"inputs": {"message": "x"}})
    assert (answer.status_code, error_of(answer)["code"]) == (502, "model_failed")
    assert error_of(answer)["message"] == "the model could not be reached"


def test_when_the_caller_leaves_the_model_call_ends(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    gate = threading.Event()
    model.says("never", gate=gate)
    with gateway.caller(key, timeout=0.7) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "x"}})
    assert model.abandoned.wait(5), "the gateway kept the model busy for nobody"
    gate.set()
    (record,) = executions_of(studio, name, 1)
    assert (record["status"], record["error_code"]) == ("cancelled", "cancelled")


SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("text", ['{"n": 3}', '```json\n{"n": 3}\n```'])
def test_a_declared_answer_is_parsed(studio: Studio, name: str, call: Any, model: ModelServer, text: str) -> None:
    studio.place(name, agent_release(answer_schema=SCHEMA))
    model.says(text)
    answer = call()
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == {"text": text, "answer": {"n": 3}}
    asked = model.requests[0]["response_format"]
    assert asked == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


@pytest.mark.parametrize("text", ["Three.", '{"n": "three"}', "[]", '{"n": 3'])
def test_an_answer_that_breaks_its_schema_is_502(
    studio: Studio, name: str, call: Any, model: ModelServer, text: str
) -> None:
    studio.place(name, agent_release(answer_schema=SCHEMA))
    model.says(text)
    answer = call()
    assert (answer.status_code, error_of(answer)["code"]) == (502, "invalid_output")
    (record,) = executions_of(studio, name, 1)
    assert record["output_tokens"] == 2 * len(text.split()), "what a failed execution spent must be counted"
    assert len(model.requests) == 2, "the model has one chance to mend its answer, and no more"


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_a_broken_answer_can_be_mended_once(
    studio: Studio, name: str, call: Any, model: ModelServer, mode: str
) -> None:
    studio.place(name, agent_release(answer_schema=SCHEMA))
    model.follows(Reply(['{"n": "three"}']), Reply(['{"n": ', "3}"]))
    answer = call(mode=mode)
    assert answer.status_code == 200, answer.text
    broken, wish = model.requests[1]["messages"][-2:]
    assert broken == {"role": "assistant", "content": '{"n": "three"}'}
    assert wish["role"] == "user"
    assert "answer.n must be of type integer" in wish["content"]
    events = read_events(answer) if mode == "stream" else []
    body = events[-1][1] if events else answer.json()
    assert body["outputs"] == {"text": '{"n": 3}', "answer": {"n": 3}}
    assert [content["text"] for event, content in events if event == "token"] == (['{"n": 3}'] if events else [])


@pytest.mark.parametrize("stream", [False, True])
def test_odd_answers_of_a_model_harm_nothing(
    studio: Studio, name: str, call: Any, model: ModelServer, stream: bool
) -> None:
    studio.place(name, agent_release())
    # A character cut into two events by its surrogates, as some servers do it; and one half alone.
    model.says("a\ud83d", "\ude00b", "\ud800", "c")
    answer = call(mode="stream" if stream else "sync")
    assert answer.status_code == 200
    assert "a" in answer.text
    assert "b\ufffdc" in (read_events_text(answer) if stream else answer.json()["outputs"]["text"])
    assert "\U0001f600" in answer.text
    huge = b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1' + b"0" * 40 + b"}}"
    model.reply = lambda _: Reply(raw=huge)
    assert call().status_code == 200
    records = executions_of(studio, name, 2)
    assert records[-1]["input_tokens"] == 2**53 - 1


def read_events_text(answer: httpx.Response) -> str:
    return "".join(content["text"] for event, content in read_events(answer) if event == "token")


def test_a_full_gateway_says_so(fresh_gateway: Any, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_MAX_CONCURRENT="1").start()
    studio = gateway.admin()
    studio.place("greeter-test", agent_release())
    gate = threading.Event()
    model.says("done", gate=gate)
    body = {"inputs": {"message": "x"}}
    with gateway.caller(studio.issue()) as client:
        first = threading.Thread(target=client.post, args=("/workflows/greeter-test/execute",), kwargs={"json": body})
        first.start()
        wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
        answer = client.post("/workflows/greeter-test/execute", json=body)
        gate.set()
        first.join()
        assert (answer.status_code, error_of(answer)["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "1"
        assert client.post("/workflows/greeter-test/execute", json=body).status_code == 200
