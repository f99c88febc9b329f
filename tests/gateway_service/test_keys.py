"""Who may call what: caller keys, their scopes, their end."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta

import httpx

from contract.caller_keys import CallerKey, KeyText
from contract.kinds import API_KEY
from tests.harness.gateway import (
    GatewayProcess,
    Studio,
    agent_release,
    error_of,
)


def test_only_a_valid_key_opens_the_door(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release())
    foreign = KeyText(key.id, "wrong-secret")
    refused = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {foreign.text}"},
        {"Authorization": f"Bearer {KeyText.generate().text}"},
        {"Authorization": f"Bearer {gateway.token}"},
        {"Authorization": f"Token {key.text}"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"key:nothing").decode()},
    ]
    messages = set()
    for headers in refused:
        for path in (f"/workflows/{name}/execute", "/v1/chat/completions", "/mcp"):
            answer = httpx.post(gateway.address + path, json={"inputs": {"message": "x"}}, headers=headers)
            assert (answer.status_code, error_of(answer)["code"]) == (401, "unauthenticated"), headers
            messages.add(answer.text)
    assert len(messages) == 1
    basic = base64.b64encode(f"key:{key.text}".encode()).decode()
    answer = httpx.get(f"{gateway.address}/workflows/{name}", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 200


def test_an_expired_key_is_refused(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key = studio.issue(expires_at=soon.isoformat())
    with gateway.caller(key) as client:
        assert client.get(f"/workflows/{name}").status_code == 200
        time.sleep(1.1)
        assert client.get(f"/workflows/{name}").status_code == 401


def test_a_revoked_key_is_refused_at_once_and_stays_so(gateway: GatewayProcess, studio: Studio) -> None:
    key = studio.issue()
    with gateway.caller(key) as client:
        assert client.get("/workflows").status_code == 200
        assert studio.delete(API_KEY, key.id, 2).status_code == 200
        assert client.get("/workflows").status_code == 401
        # The old key, pushed again by someone who was late.
        late = CallerKey.parse({"hash": key.hash, "scopes": ["*"]})
        assert studio.put(API_KEY, key.id, late, 1)["outcome"] == "stale"
        assert client.get("/workflows").status_code == 401


def test_a_scope_hides_what_lies_beyond_it(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    other = f"other-{name}"
    studio.place(name, agent_release())
    studio.place(other, agent_release())
    key = studio.issue(scopes=[name, "not-there-yet"])
    body = {"inputs": {"message": "x"}}
    with gateway.caller(key) as client:
        assert list(client.get("/workflows").json()) == [name]
        assert client.post(f"/workflows/{name}/execute", json=body).status_code == 200
        beyond = client.post(f"/workflows/{other}/execute", json=body)
        unknown = client.post("/workflows/nothing-test/execute", json=body)
        assert beyond.status_code == unknown.status_code == 403
        assert beyond.json() == unknown.json()
        assert client.post("/workflows/not-there-yet/execute", json=body).status_code == 404
    with gateway.caller(studio.issue()) as client:
        assert client.post("/workflows/nothing-test/execute", json=body).status_code == 404
