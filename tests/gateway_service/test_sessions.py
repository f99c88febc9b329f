"""Sessions as their key sees them: listed, read, forgotten, expired; and nobody else's."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from contract.caller_keys import KeyText
from gateway_service.models.messages import Message
from gateway_service.store.session_memory import Conversation, SessionName
from gateway_service.store.sqlite_sessions import SqliteSessions
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import GatewayProcess, Studio, agent_release, error_of

NAME = SessionName("key", "a-test", "s")


@pytest.fixture
def key(studio: Studio) -> KeyText:
    """A key of the test's own, so that it sees no other test's sessions."""
    return studio.issue()


def test_a_session_is_listed_read_and_forgotten(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    studio.place(name, agent_release(memory=True))
    for message in ("one", "two"):
        assert gateway.ask(key, message, name=name, session_id="s").status_code == 200
    with gateway.caller(key) as client:
        (listed,) = client.get("/sessions").json()["items"]
        assert (listed["registration"], listed["session_id"]) == (name, "s")
        assert listed["created_at"] < listed["used_at"] < listed["expires_at"]
        read = client.get(f"/sessions/{name}/s").json()
        messages = read.pop("messages")
        assert read == listed
        assert [(each["role"], each["content"]) for each in messages] == [
            ("user", "one"),
            ("assistant", "You said: one"),
            ("user", "two"),
            ("assistant", "You said: two"),
        ]
        assert client.delete(f"/sessions/{name}/s").status_code == 204
        assert client.get(f"/sessions/{name}/s").status_code == 404
        assert client.delete(f"/sessions/{name}/s").status_code == 404
        assert client.get("/sessions").json() == {"items": [], "next": None}


def test_what_was_forgotten_is_not_recalled(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release(memory=True))
    gateway.ask(key, "secret", name=name, session_id="s")
    with gateway.caller(key) as client:
        client.delete(f"/sessions/{name}/s")
    gateway.ask(key, "again", name=name, session_id="s")
    assert [message["content"] for message in model.requests[-1]["messages"][1:]] == ["again"]


def test_nobody_sees_the_sessions_of_another_key(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    studio.place(name, agent_release(memory=True))
    gateway.ask(key, name=name, session_id="s")
    with gateway.caller(studio.issue()) as stranger:
        assert stranger.get("/sessions").json()["items"] == []
        unknown = stranger.get(f"/sessions/{name}/never")
        for answer in (stranger.get(f"/sessions/{name}/s"), stranger.delete(f"/sessions/{name}/s")):
            assert answer.status_code == 404
            assert answer.json() == unknown.json()
        assert stranger.delete("/sessions", params={"registration": name}).json() == {"forgotten": 0}
    with gateway.caller() as nobody:
        assert nobody.get("/sessions").status_code == 401
        assert nobody.get(f"/sessions/{name}/s").status_code == 401
    with gateway.caller(key) as client:
        assert client.get(f"/sessions/{name}/s").status_code == 200


def test_all_sessions_of_a_registration_are_forgotten_and_no_others(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    other = f"other-{name}"
    for each in (name, other):
        studio.place(each, agent_release(memory=True))
        for session in ("s1", "s2"):
            gateway.ask(key, name=each, session_id=session)
    with gateway.caller(key) as client:
        assert client.delete("/sessions", params={"registration": name}).json() == {"forgotten": 2}
        assert {each["registration"] for each in client.get("/sessions").json()["items"]} == {other}
        assert client.get("/sessions", params={"registration": name}).json()["items"] == []
        missing = client.delete("/sessions")
        assert (missing.status_code, error_of(missing)["path"]) == (400, "registration")


def test_pages_follow_each_other(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release(memory=True))
    for number in range(5):
        gateway.ask(key, name=name, session_id=f"s{number}")
    seen, cursor = [], None
    with gateway.caller(key) as client:
        while True:
            page = client.get("/sessions", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [each["session_id"] for each in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
    assert seen == ["s4", "s3", "s2", "s1", "s0"]


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"cursor": "!"}, "cursor"),
        ({"cursor": "W10="}, "cursor"),
        ({"cursor": "WyIxIiwgImEiLCAiYiJd"}, "cursor"),
        ({"cursor": "ü"}, "cursor"),
    ],
)
def test_bad_parameters_are_named(gateway: GatewayProcess, key: KeyText, parameters: dict[str, str], path: str) -> None:
    with gateway.caller(key) as client:
        answer = client.get("/sessions", params=parameters)
    assert (answer.status_code, error_of(answer)["path"]) == (400, path)


@pytest.mark.parametrize("session_id", ["a/b", "a?b#c", "%2e", "größe", "a b", "..", "x" * 128, "' OR 1=1 --"])
def test_any_id_can_be_read_and_forgotten(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, session_id: str
) -> None:
    studio.place(name, agent_release(memory=True))
    gateway.ask(key, "mine", name=name, session_id=session_id)
    gateway.ask(key, "other", name=name, session_id="other")
    encoded = quote(session_id, safe="").replace(".", "%2E")
    with gateway.caller(key) as client:
        read = client.get(f"/sessions/{name}/{encoded}")
        assert read.json()["messages"][0]["content"] == "mine"
        assert client.delete(f"/sessions/{name}/{encoded}").status_code == 204
        assert [each["session_id"] for each in client.get("/sessions").json()["items"]] == ["other"]


def test_deleting_while_an_execution_runs_harms_neither(
    gateway: GatewayProcess, studio: Studio, key: KeyText, model: ModelServer, name: str
) -> None:
    studio.place(name, agent_release(memory=True))
    gateway.ask(key, "old", name=name, session_id="s")
    gate, asked = threading.Event(), len(model.requests)
    model.says("Late.", gate=gate)
    answers: list[int] = []
    running = threading.Thread(
        target=lambda: answers.append(gateway.ask(key, "new", name=name, session_id="s").status_code)
    )
    running.start()
    while len(model.requests) == asked:
        time.sleep(0.01)
    with gateway.caller(key) as client:
        client.delete(f"/sessions/{name}/s")
        gate.set()
        running.join()
        assert answers == [200]
        contents = [each["content"] for each in client.get(f"/sessions/{name}/s").json()["messages"]]
    assert contents == ["new", "Late."]


def turn(text: str) -> list[Message]:
    return [Message("user", text), Message("assistant", f"re {text}")]


async def test_an_expired_session_is_gone_before_anybody_prunes(tmp_path: Path) -> None:
    now = 1_000.0
    memory = SqliteSessions(tmp_path, kept_s=60, clock=lambda: now)
    await memory.remember(Conversation(NAME, "agent"), turn("one"))
    assert await memory.recall(Conversation(NAME, "agent"))
    now += 61
    assert await memory.recall(Conversation(NAME, "agent")) == []
    assert await memory.read(NAME) is None
    assert await memory.sessions("key", registration=None, after=None, limit=9) == []
    await memory.remember(Conversation(NAME, "agent"), turn("two"))
    found = await memory.read(NAME)
    assert found is not None
    assert [each.message.content for each in found[1]] == ["two", "re two"]
    await memory.close()


async def test_the_session_used_longest_ago_makes_room(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway_service.store.sqlite_sessions.SESSIONS_PER_KEY", 2)
    memory = SqliteSessions(tmp_path, kept_s=60)
    for session_id in ("a", "b", "a", "c"):
        await memory.remember(Conversation(NAME._replace(session_id=session_id), "agent"), turn("x"))
    await memory.remember(Conversation(NAME._replace(key_id="other"), "agent"), turn("x"))
    kept = await memory.sessions("key", registration=None, after=None, limit=9)
    assert [session.session_id for session in kept] == ["c", "a"]
    assert await memory.recall(Conversation(NAME._replace(session_id="b"), "agent")) == []
    assert len(await memory.sessions("other", registration=None, after=None, limit=9)) == 1
    await memory.close()


async def test_nodes_of_one_session_do_not_hear_each_other(tmp_path: Path) -> None:
    memory = SqliteSessions(tmp_path, kept_s=60)
    await memory.remember(Conversation(NAME, "first"), turn("one"))
    await memory.remember(Conversation(NAME, "second"), turn("two"))
    assert await memory.recall(Conversation(NAME, "first")) == turn("one")
    found = await memory.read(NAME)
    assert found is not None
    assert [each.node for each in found[1]] == ["first", "first", "second", "second"]
    assert await memory.forget("key", "a-test", None) == 1
    assert await memory.recall(Conversation(NAME, "second")) == []
    await memory.close()


async def test_sessions_of_an_older_file_are_found(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "sessions.sqlite")
    file.executescript(
        "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, key_id TEXT NOT NULL, registration TEXT NOT NULL, "
        "session_id TEXT NOT NULL, node TEXT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL, at REAL NOT NULL) "
        "STRICT;"
        f"INSERT INTO message VALUES (1, 'key', 'a-test', 's', 'agent', 'user', 'old', {time.time() - 5});"
    )
    file.close()
    memory = SqliteSessions(tmp_path, kept_s=60)
    (session,) = await memory.sessions("key", registration=None, after=None, limit=9)
    assert session.session_id == "s"
    assert await memory.recall(Conversation(NAME, "agent")) == [Message("user", "old")]
    await memory.close()
