"""What agents with memory remember, of whom, and how much."""

from __future__ import annotations

from typing import Any

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
)


def test_memory_belongs_to_a_key_a_registration_and_a_session(
    gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer
) -> None:
    other_name = f"other-{name}"
    studio.place(name, agent_release(memory=True))
    studio.place(other_name, agent_release(memory=True))
    mine, theirs = studio.issue(), studio.issue()

    def say(key: KeyText, text: str, session: str | None, to: str = name) -> list[str]:
        with gateway.caller(key) as client:
            body = {"inputs": {"message": text}, **({"session_id": session} if session else {})}
            assert client.post(f"/workflows/{to}/execute", json=body).status_code == 200
        return [message["content"] for message in model.requests[-1]["messages"][1:]]

    assert say(mine, "one", "s1") == ["one"]
    assert say(mine, "two", "s1") == ["one", "You said: one", "two"]
    assert say(mine, "three", "s2") == ["three"]
    assert say(theirs, "four", "s1") == ["four"]
    assert say(mine, "five", "s1", to=other_name) == ["five"]
    assert say(mine, "six", None) == ["six"]
    assert say(mine, "seven", "s1") == ["one", "You said: one", "two", "You said: two", "seven"]


def test_memory_is_bounded(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    studio.place(name, agent_release(memory=True))
    with gateway.caller(studio.issue()) as client:
        for index in range(25):
            body = {"inputs": {"message": f"m{index}"}, "session_id": "s"}
            client.post(f"/workflows/{name}/execute", json=body)
        messages = model.requests[-1]["messages"]
        assert len(messages) == 1 + 40 + 1
        assert messages[1]["content"] == "m4"
        client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "x" * 40_000}, "session_id": "s"})
        client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "short"}, "session_id": "s"})
    assert sum(len(message["content"]) for message in model.requests[-1]["messages"]) < 33_000


def test_an_agent_without_memory_forgets(studio: Studio, name: str, call: Any, model: ModelServer) -> None:
    studio.place(name, agent_release())
    call(session_id="s")
    call(session_id="s")
    assert len(model.requests[-1]["messages"]) == 2
