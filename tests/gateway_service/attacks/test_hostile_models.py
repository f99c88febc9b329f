"""A model, or whatever has taken its place, as the attacker."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.release import Limits
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import GatewayProcess, Studio, agent_release, error_of, executions_of, read_events

MIB = 1024 * 1024


def resident_mb(gateway: GatewayProcess) -> float:
    """The memory that the gateway occupies."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1_024


def refused(answer: httpx.Response) -> str:
    """The code of an error, be it the answer or the end of a stream."""
    if answer.status_code == 200:
        events = [content for event, content in read_events(answer) if event == "error"]
        return str(events[-1]["error"]["code"])
    return str(error_of(answer)["code"])


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_an_answer_of_many_megabytes_is_not_taken(
    studio: Studio, name: str, call: Any, model: ModelServer, mode: str
) -> None:
    studio.place(name, agent_release())
    model.says(*["x" * (MIB // 2) for _ in range(40)])
    assert refused(call(mode=mode)) == "model_failed"


def test_a_compressed_answer_counts_by_what_it_unfolds_to(
    gateway: GatewayProcess, studio: Studio, name: str, call: Any, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    assert call().status_code == 200
    before = resident_mb(gateway)
    bomb = gzip.compress(b'{"choices": [{"message": {"content": "' + b"x" * (200 * MIB))
    model.reply = lambda _: Reply(raw=bomb, headers={"Content-Encoding": "gzip"})
    assert refused(call()) == "model_failed"
    assert resident_mb(gateway) < before + 100


@pytest.mark.parametrize("mode", ["sync", "stream"])
def test_a_model_that_never_answers_is_not_waited_for(
    studio: Studio, name: str, call: Any, model: ModelServer, mode: str
) -> None:
    studio.place(name, agent_release(limits=Limits(timeout_s=1)))
    model.says("never", gate=threading.Event())
    assert refused(call(mode=mode)) == "timed_out"
    assert model.abandoned.wait(20)
    assert studio.state()["capacity"]["in_flight"] == 0


def test_a_line_without_end_is_not_kept(
    gateway: GatewayProcess, studio: Studio, name: str, call: Any, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    assert call().status_code == 200
    before = resident_mb(gateway)
    model.says("x" * (12 * MIB))
    assert refused(call(mode="stream")) == "model_failed"
    assert resident_mb(gateway) < before + 100


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_leads_nowhere(studio: Studio, name: str, call: Any, model: ModelServer, status: int) -> None:
    studio.place(name, agent_release())
    elsewhere = {"Location": "http://169.254.169.254/latest/meta-data/"}
    model.reply = lambda _: Reply(status=status, raw=b"{}", headers=elsewhere)
    answer = call()
    assert refused(answer) == "model_failed"
    assert "169.254" not in answer.text
    assert len(model.requests) == 1


def test_a_cookie_of_one_call_does_not_reach_another(studio: Studio, name: str, call: Any, model: ModelServer) -> None:
    studio.place(name, agent_release())
    answer = {"choices": [{"message": {"content": "x"}}]}
    model.reply = lambda _: Reply(raw=json.dumps(answer).encode(), headers={"Set-Cookie": "who=first; Path=/"})
    assert call().status_code == 200
    assert call().status_code == 200
    assert model.cookies == [None, None]


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"7", b'{"choices": 7}', b'{"choices": [[]]}', b"[" * 100_000, b"\xff\xfe", b"NaN",
     b'{"choices": [{"message": 7}]}', b'{"choices": [{"message": {"content": ["x"]}}]}'],
)  # fmt: skip
def test_nonsense_is_a_failure_of_the_model(
    studio: Studio, name: str, call: Any, model: ModelServer, raw: bytes
) -> None:
    studio.place(name, agent_release())
    model.reply = lambda _: Reply(raw=raw)
    assert refused(call()) == "model_failed"
    (record,) = executions_of(studio, name, 1)
    assert record["error_code"] == "model_failed"
