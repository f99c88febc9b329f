"""The admin API: what Studio may push, what is refused, and that nothing is ever half-done."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from contract.admin_api import PREFIX, GatewayState, Item, PutRequest, state_digest, tombstone_signature
from contract.caller_keys import CallerKey, KeyText
from contract.envelope import Envelope, Receipt, generate_private_key, public_key_from_text
from contract.kinds import API_KEY, TOMBSTONE_DIGEST, WORKFLOW
from contract.release import Release
from tests.harness.gateway import GatewayProcess, Studio, agent_release, error_of, executions_of


def says(gateway: GatewayProcess, key: KeyText, name: str) -> str:
    """The version of the release that answers a name."""
    with gateway.caller(key) as client:
        answer = client.get(f"/workflows/{name}")
    return str(answer.json()["version"]) if answer.status_code == 200 else str(answer.status_code)


def test_only_the_deploy_token_opens_it(gateway: GatewayProcess, key: KeyText) -> None:
    doors = [
        ("GET", "/state"), ("GET", "/executions"), ("POST", "/drain"), ("PUT", "/workflows/a-test"),
        ("DELETE", "/workflows/a-test?generation=1"), ("PUT", "/keys/0123456789ab"), ("DELETE", "/keys/0123456789ab"),
    ]  # fmt: skip
    wrong = [{}, {"Authorization": f"Bearer {key.text}"}, {"Authorization": f"Bearer {gateway.token}x"},
             {"Authorization": f"Basic {gateway.token}"}, {"Authorization": gateway.token}]  # fmt: skip
    for headers in wrong:
        for method, path in doors:
            answer = httpx.request(method, f"{gateway.address}{PREFIX}{path}", headers=headers)
            assert (answer.status_code, error_of(answer)["code"]) == (401, "unauthenticated"), (method, path)
        assert httpx.get(f"{gateway.address}/metrics", headers=headers).status_code == 401
    state = httpx.get(
        f"{gateway.address}{PREFIX}/state", headers={"Authorization": f"Bearer {gateway.token}"}
    )  # fmt: skip
    assert state.status_code == 200
    assert state.json()["draining"] is False


def test_health_readiness_and_documents_are_open(gateway: GatewayProcess) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", f"{PREFIX}/openapi.json"):
        answer = httpx.get(gateway.address + path)
        assert answer.status_code == 200, path
        assert gateway.token not in answer.text


def test_a_registration_moves_through_its_generations(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    first, second = agent_release(version=1), agent_release(version=2)
    placed = studio.place(name, first, 1)
    assert (placed["outcome"], placed["generation"], placed["digest"]) == ("applied", 1, first.digest)
    assert says(gateway, key, name) == "1"

    again = studio.place(name, first, 1)
    assert again == {**placed, "outcome": "same"}

    conflict = studio.send(WORKFLOW, name, studio.request(WORKFLOW, name, second, 1).body(WORKFLOW))
    assert (conflict.status_code, error_of(conflict)["code"]) == (409, "conflict")
    assert says(gateway, key, name) == "1"

    newer = studio.place(name, second, 5)
    assert newer["outcome"] == "applied"
    assert newer["registration_id"] != placed["registration_id"]
    assert says(gateway, key, name) == "2"

    stale = studio.place(name, first, 4)
    assert stale == {**newer, "outcome": "stale"}
    assert says(gateway, key, name) == "2"

    rolled_back = studio.place(name, first, 6)
    assert rolled_back["outcome"] == "applied"
    assert says(gateway, key, name) == "1"


def test_a_deletion_counts_as_a_generation(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release(), 1)
    deleted = studio.delete(WORKFLOW, name, 2)
    assert deleted.status_code == 200
    assert deleted.json()["digest"] == TOMBSTONE_DIGEST
    assert says(gateway, key, name) == "404"
    assert studio.delete(WORKFLOW, name, 2).json()["outcome"] == "same"
    assert studio.place(name, agent_release(), 1)["outcome"] == "stale"
    assert says(gateway, key, name) == "404"
    items = studio.state(items=True)["items"]
    assert [item for item in items if item["name"] == name] == [
        {"kind": "workflow", "name": name, "generation": 2, "digest": TOMBSTONE_DIGEST, "tombstone": True}
    ]
    assert studio.place(name, agent_release(), 3)["outcome"] == "applied"
    assert says(gateway, key, name) == "1"


def test_what_was_never_there_can_be_deleted_for_good(studio: Studio, name: str) -> None:
    assert studio.delete(WORKFLOW, name, 7).json()["outcome"] == "applied"
    assert studio.place(name, agent_release(), 6)["outcome"] == "stale"


def test_receipts_are_signed_by_the_gateways_own_key(studio: Studio, name: str) -> None:
    state = studio.state()
    public = public_key_from_text(state["public_key"])
    for got in (studio.place(name, agent_release(), 3), studio.delete(WORKFLOW, name, 4).json()):
        receipt = Receipt(
            state["gateway_id"], got["kind"], got["name"], got["generation"], got["digest"], got["applied_at"]
        )
        assert receipt.verify(public, got["receipt"])
        assert not replace(receipt, generation=99).verify(public, got["receipt"])


def test_the_state_digest_is_that_of_the_items(studio: Studio, name: str) -> None:
    before = studio.state()
    studio.place(name, agent_release())
    after = GatewayState.model_validate(studio.state(items=True))
    assert after.items is not None
    assert after.state_digest == state_digest(after.items) != before["state_digest"]
    assert after.revision == before["revision"] + 1
    assert Item(
        kind="workflow", name=name, generation=1, digest=agent_release().digest, tombstone=False
    ) in after.items  # fmt: skip
    assert "items" not in studio.state()


def test_only_the_organizations_signature_counts(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    release = agent_release()
    good = studio.request(WORKFLOW, name, release, 1)
    foreign = studio.request(WORKFLOW, name, release, 1, key=generate_private_key())
    organization = gateway.organization_key
    envelope = Envelope(studio.gateway_id, "workflow", name, 1, release.digest)
    forged = [
        foreign.signature,
        "",
        "A" * 86,
        replace(envelope, gateway="another-gateway").sign(organization),
        replace(envelope, name="another-test").sign(organization),
        replace(envelope, kind="api-key").sign(organization),
        replace(envelope, generation=2).sign(organization),
        replace(envelope, digest=TOMBSTONE_DIGEST).sign(organization),
    ]
    for signature in forged:
        answer = studio.send(WORKFLOW, name, {**good.body(WORKFLOW), "signature": signature})
        assert (answer.status_code, error_of(answer)["code"]) == (403, "invalid_signature")
    assert says(gateway, key, name) == "404"
    assert studio.send(WORKFLOW, name, good.body(WORKFLOW)).status_code == 200


def test_a_deletion_needs_a_signature_of_its_own(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    studio.place(name, agent_release())
    path = f"{PREFIX}/workflows/{name}"
    replayed = tombstone_signature(
        WORKFLOW, name, gateway=studio.gateway_id, generation=3, key=gateway.organization_key
    )  # fmt: skip
    for headers in ({}, {"Kaizen-Signature": "x"}, {"Kaizen-Signature": replayed}):
        answer = studio.http.delete(path, params={"generation": 2}, headers=headers)
        assert (answer.status_code, error_of(answer)["code"]) == (403, "invalid_signature")
    for generation in ("", "0", "-1", "x", "1.5", "9" * 30):
        answer = studio.http.delete(path, params={"generation": generation}, headers={"Kaizen-Signature": replayed})
        assert (answer.status_code, error_of(answer)["path"]) == (400, "generation")
    assert says(gateway, key, name) == "1"


def test_the_digest_must_be_the_payloads(studio: Studio, name: str) -> None:
    request = studio.request(WORKFLOW, name, agent_release(), 1)
    other = agent_release(version=2).to_json()
    answer = studio.send(WORKFLOW, name, {**request.body(WORKFLOW), "release": other})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "digest_mismatch")


def release_with(path: str, value: Any) -> dict[str, Any]:
    release = agent_release().to_json()
    *steps, last = path.split("/")
    target: Any = release
    for step in steps:
        target = target[int(step)] if step.isdigit() else target[step]
    target[last] = value
    return release


@pytest.mark.parametrize(
    ("release", "code", "path"),
    [
        (release_with("workflow/nodes/0/type", "PythonCodeNode"), "node_forbidden", "release.workflow.nodes[0].type"),
        (release_with("workflow/nodes/0/type", "ShellNode"), "node_forbidden", "release.workflow.nodes[0].type"),
        (
            release_with("workflow/nodes/0/parameters/base_url", "http://evil"),
            "invalid_release",
            "release.workflow.nodes[0].parameters.base_url",
        ),
        (
            release_with("workflow/nodes/0/parameters/model_profile", "gold"),
            "invalid_release",
            "release.workflow.nodes[0].parameters.model_profile",
        ),
        (release_with("format", "kaizen.release/9"), "invalid_release", "release.format"),
        (release_with("surprise", 1), "invalid_release", "release.surprise"),
        (
            release_with("interface/bindings/0/parameter", "instructions"),
            "invalid_release",
            "release.interface.bindings[0].parameter",
        ),
        ({}, "invalid_release", "release.subject"),
    ],
)
def test_a_release_that_must_not_run_is_refused_with_its_path(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, release: dict[str, Any], code: str, path: str
) -> None:
    from contract.canonical import digest_of

    digest = digest_of(release)
    signature = Envelope(studio.gateway_id, "workflow", name, 1, digest).sign(gateway.organization_key)
    body = {"generation": 1, "digest": digest, "signature": signature, "release": release}
    before = studio.state()["revision"]
    answer = studio.send(WORKFLOW, name, body)
    assert (answer.status_code, error_of(answer)["code"], error_of(answer)["path"]) == (422, code, path)
    assert says(gateway, key, name) == "404"
    assert studio.state()["revision"] == before


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"generation": 1, "generation": 2}', 400, "invalid_request"),
        (json.dumps({"generation": "1", "digest": "x", "signature": "", "release": {}}).encode(), 400,
         "invalid_request"),
        (b'{"release": "' + b"x" * 1_100_000 + b'"}', 413, "payload_too_large"),
    ],
)  # fmt: skip
def test_bad_bodies(studio: Studio, name: str, content: bytes, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = studio.http.put(f"{PREFIX}/workflows/{name}", content=content, headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


def test_a_body_that_is_not_sent_as_json_is_refused(studio: Studio, name: str) -> None:
    answer = studio.http.put(f"{PREFIX}/workflows/{name}", content=b"{}")
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "bad", ["Greeter-test", "greeter", "a b-test", "a@canary", "..%2fetc-test", "x" * 80 + "-test"]
)
def test_bad_names_are_refused(studio: Studio, bad: str) -> None:
    request = studio.request(WORKFLOW, "a-test", agent_release(), 1)
    answer = studio.http.put(f"{PREFIX}/workflows/{bad}", json=request.body(WORKFLOW))
    assert answer.status_code in (400, 404)
    answer = studio.http.put(f"{PREFIX}/keys/{bad}", json={})
    assert answer.status_code in (400, 404)


def test_kinds_that_nobody_knows_are_not_found(studio: Studio) -> None:
    for segment in ("agents", "files"):
        answer = studio.http.put(f"{PREFIX}/{segment}/a-test", json={})
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def test_a_limit_that_the_gateway_does_not_enforce_is_refused(gateway: GatewayProcess, studio: Studio) -> None:
    from contract.canonical import digest_of

    text = KeyText.generate()
    payload = {"hash": text.hash, "scopes": ["*"], "limits": {"calls_on_sundays": 3}}
    digest = digest_of(payload)
    signature = Envelope(studio.gateway_id, "api-key", text.id, 1, digest).sign(gateway.organization_key)
    body = PutRequest(generation=1, digest=digest, signature=signature, payload=payload).body(API_KEY)
    answer = studio.send(API_KEY, text.id, body)
    assert (answer.status_code, error_of(answer)["path"]) == (422, "key.limits.calls_on_sundays")


def test_a_key_can_be_narrowed(gateway: GatewayProcess, studio: Studio, name: str) -> None:
    studio.place(name, agent_release())
    key = studio.issue()
    assert says(gateway, key, name) == "1"
    studio.put(API_KEY, key.id, CallerKey.parse({"hash": key.hash, "scopes": ["nothing-test"]}), 2)
    assert says(gateway, key, name) == "403"


def test_the_execution_log_is_a_cursor(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: Any
) -> None:
    studio.place(name, agent_release())
    start = studio.executions()
    start = studio.executions(after=10**9) | {"after": max((i["seq"] for i in start["items"]), default=0)}
    with gateway.caller(key) as client:
        ids = [
            client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "x"}, "session_id": "s"}).json()[
                "execution_id"
            ]
            for _ in range(3)
        ]
    page = studio.executions(after=start["after"])
    assert [record["execution_id"] for record in page["items"]] == ids
    assert page["epoch"] == studio.state()["execution_epoch"]
    assert page["next_after"] == page["items"][-1]["seq"] == studio.state()["execution_seq"]
    assert studio.executions(after=page["next_after"])["items"] == []
    first = page["items"][0]
    assert {key: first[key] for key in ("registration", "channel", "status", "session_id", "input_tokens")} == {
        "registration": name, "channel": "api", "status": "succeeded", "session_id": "s", "input_tokens": 4,
    }  # fmt: skip
    assert first["key_id"] == key.id
    assert first["release_digest"] == agent_release().digest
    assert first["duration_ms"] > 0
    limited = studio.http.get(f"{PREFIX}/executions", params={"after": start["after"], "limit": 2}).json()
    assert [record["execution_id"] for record in limited["items"]] == ids[:2]


@pytest.mark.parametrize("query", [{"after": "-1"}, {"after": "x"}, {"limit": "0"}, {"limit": "1001"}, {"after": ""}])
def test_a_bad_cursor_is_refused(studio: Studio, query: dict[str, str]) -> None:
    answer = studio.http.get(f"{PREFIX}/executions", params=query)
    assert (answer.status_code, error_of(answer)["path"]) == (400, next(iter(query)))


def test_metrics_count_what_happened(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: Any
) -> None:
    studio.place(name, agent_release())
    with gateway.caller(key) as client:
        client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "one two"}})
        model.says("x", status=500)
        client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "x"}})
    executions_of(studio, name, 2)
    text = studio.http.get("/metrics").text
    assert (
        f'kaizen_executions_total{{channel="api",registration="{name}",status="succeeded",track="release"}} 1.0' in text
    )
    assert f'kaizen_executions_total{{channel="api",registration="{name}",status="failed",track="release"}} 1.0' in text
    assert f'kaizen_tokens_total{{direction="output",registration="{name}",track="release"}} 4.0' in text
    assert f'kaizen_execution_seconds_count{{registration="{name}",track="release"}} 2.0' in text
    assert 'kaizen_refusals_total{code="model_failed",surface="caller"}' in text
    assert f"kaizen_store_revision {float(studio.state()['revision'])}" in text


def test_the_documents_describe_what_is_served(gateway: GatewayProcess, studio: Studio) -> None:
    admin = httpx.get(f"{gateway.address}{PREFIX}/openapi.json").json()
    assert set(admin["paths"]) == {
        "/admin/v1/state", "/admin/v1/drain", "/admin/v1/executions", "/admin/v1/workflows/{name}",
        "/admin/v1/keys/{name}", "/admin/v1/routes/{name}", "/admin/v1/stops/{name}", "/metrics", "/healthz", "/readyz",
        "/admin/v1/openapi.json",
    }  # fmt: skip
    for path, operations in admin["paths"].items():
        for method in operations:
            answer = httpx.request(method.upper(), gateway.address + path.replace("{name}", "a-test"))
            open_to_all = operations[method].get("security") == []
            assert answer.status_code == (200 if open_to_all else 401), (method, path)
    from jsonschema import Draft202012Validator

    schema = {**admin["components"]["schemas"]["GatewayState"], "components": admin["components"]}
    Draft202012Validator(schema).validate(studio.state(items=True))
    caller = httpx.get(f"{gateway.address}/openapi.json").json()
    for path, operations in caller["paths"].items():
        for method in operations:
            answer = httpx.request(method.upper(), gateway.address + path.replace("{name}", "a-test"))
            open_to_all = operations[method].get("security") == []
            assert answer.status_code == (200 if open_to_all else 401), (method, path)


def test_a_release_survives_the_trip_byte_for_byte(studio: Studio, name: str) -> None:
    release = Release.parse({**agent_release().to_json(), "metadata": {"title": "Grüße 😀", "description": ""}})
    assert studio.place(name, release)["digest"] == release.digest
