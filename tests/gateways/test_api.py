"""Environments, gateways, caller keys and placements through the API."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from apps.audit.models import Event
from apps.gateways.models import CallerKey, Environment, Gateway, Payload, SigningKey
from contract.caller_keys import KeyText

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.gateway import GatewayProcess
from tests.harness.queries import reads
from tests.harness.world import Api, Inhabited


@pytest.fixture
def api(api_for: Callable[[str], Api]) -> Api:
    return api_for("owner")


NEW_GATEWAY = {
    "environment": "development",
    "name": "eu-1",
    "address": "http://127.0.0.1:9",
    "deploy_token": "a-secret-deploy-token-of-eu-1",
}


def test_an_organization_starts_with_three_environments_and_a_signing_key(acme: Inhabited, api: Api) -> None:
    found = api.get("/environments/").json()["results"]
    assert [each["slug"] for each in found] == ["development", "staging", "production"]
    assert found[0]["status"] == "empty"
    assert found[0]["status_reason"] == "no gateway is registered, so nothing can run here"
    assert SigningKey.objects.filter(active=True).count() == 1


def test_an_environment_is_made_and_changed(api: Api) -> None:
    made = api.post("/environments/", {"slug": "qa", "name": "Quality"})
    assert made.status_code == 201
    assert made.json()["order"] > 0
    changed = api.patch("/environments/qa/", {"poll_interval_s": 2})
    assert (changed.json()["poll_interval_s"], changed.json()["name"]) == (2, "Quality")
    assert api.post("/environments/", {"slug": "qa", "name": "Again"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"slug": "two-words", "name": "X"}, "slug"),
        ({"slug": "averyveryverylongname", "name": "X"}, "slug"),
        ({"slug": "qa", "name": " "}, "name"),
        ({"slug": "qa", "name": "Q", "poll_interval_s": 0}, "poll_interval_s"),
        ({"slug": "qa", "name": "Q", "caller_url": "javascript:alert(1)"}, "caller_url"),
        ({"slug": "qa", "name": "Q", "surprise": 1}, "surprise"),
        ({"name": "Q"}, "slug"),
    ],
)
def test_a_bad_environment_names_its_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.post("/environments/", body)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_a_gateway_is_registered_seen_healthy_and_removed(
    api: Api, spawn: Callable[..., GatewayProcess], reconcile: Callable[..., int]
) -> None:
    process = spawn()
    body = NEW_GATEWAY | {"address": process.address, "deploy_token": process.token}
    made = api.post("/gateways/", body, key="one")
    assert made.status_code == 201
    assert (made.json()["status"], made.json()["status_reason"]) == ("pending", "has not been polled yet")
    assert api.post("/gateways/", body, key="one").json() == made.json(), "the same request, the same answer"
    assert Gateway.objects.count() == 1
    reconcile()
    seen = api.get("/gateways/eu-1/").json()
    assert seen["status"] == "healthy"
    assert seen["max_concurrent"] > 0
    assert "deploy_token" not in seen
    assert api.get("/gateways/", environment="staging").json()["results"] == []
    assert api.delete("/gateways/eu-1/").status_code == 202
    assert api.get("/gateways/eu-1/").json()["status"] == "removing"
    assert api.delete("/gateways/eu-1/?force=maybe").status_code == 422
    assert api.delete("/gateways/eu-1/?force=true").status_code == 204
    assert api.get("/gateways/eu-1/").status_code == 404


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"address": "http://169.254.169.254"}, "address", "link-local"),
        ({"address": "http://[::ffff:10.0.0.1]:80"}, "address", "private"),
        ({"address": "http://gateway.invalid"}, "address", "does not resolve"),
        ({"address": 5}, "address", "http"),
        ({"name": "EU 1"}, "name", "lower-case"),
        ({"deploy_token": "tiny"}, "deploy_token", "16 to 500"),
        ({"deploy_token": "with a blank in it, and long"}, "deploy_token", "visible ASCII"),
        ({"environment": "moon"}, "environment", "no environment"),
    ],
)
def test_a_bad_registration_names_its_field_and_repeats_no_secret(
    api: Api, change: dict[str, Any], field: str, message: str
) -> None:
    answer = api.post("/gateways/", NEW_GATEWAY | change)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]
    assert NEW_GATEWAY["deploy_token"] not in answer.content.decode()


def test_names_and_addresses_are_unique(api: Api) -> None:
    assert api.post("/gateways/", NEW_GATEWAY).status_code == 201
    again = api.post("/gateways/", NEW_GATEWAY | {"address": "http://127.0.0.1:9/"})
    assert {error["field"] for error in again.json()["errors"]} == {"name", "address"}


def test_a_key_is_shown_once_and_its_replay_is_blank(acme: Inhabited, api: Api) -> None:
    body = {"environment": "development", "name": "shop", "scopes": ["greeter-development"]}
    made = api.post("/caller-keys/", body, key="k")
    assert made.status_code == 201
    text = made.json()["key"]
    assert text.startswith(f"kzk_{made.json()['public_id']}_")
    assert text.endswith(made.json()["hint"])
    replayed = api.post("/caller-keys/", body, key="k").json()
    assert replayed["id"] == made.json()["id"]
    assert replayed["key"] is None
    assert "key" not in api.get(f"/caller-keys/{made.json()['id']}/").json()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["*", "greeter-development"]}, "scopes"),
        ({"scopes": ["greeter-production"]}, "scopes"),
        ({"scopes": ["no name at all"]}, "scopes"),
        ({"scopes": "greeter-development"}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
    ],
)
def test_a_bad_key_names_its_field(api: Api, change: dict[str, Any], field: str) -> None:
    answer = api.post("/caller-keys/", {"environment": "development", "name": "shop"} | change)
    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not CallerKey.objects.exists()


def test_a_revocation_says_which_gateways_have_confirmed(
    api: Api, spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], reconcile: Callable[..., int]
) -> None:
    process = spawn()
    register(process, name="near")
    made = api.post("/caller-keys/", {"environment": "development", "name": "shop"}).json()
    reconcile()
    address = f"/caller-keys/{made['id']}/"
    assert api.get(address).json()["status_reason"] == "its gateway accepts it"
    process.kill()
    revoked = api.post(f"{address}revoke/").json()
    assert (revoked["state"], revoked["status"]) == ("revoked", "revoking")
    assert revoked["gateways"] == [
        {"gateway": "near", "confirmed": False, "reason": "waits for its turn", "since": None}
    ]
    assert api.post(f"{address}revoke/").status_code == 409
    process.start()
    reconcile()
    confirmed = api.get(address).json()
    assert (confirmed["status"], confirmed["gateways"][0]["confirmed"]) == ("revoked", True)


def test_a_builder_may_do_in_development_what_is_denied_in_production(api_for: Callable[[str], Api]) -> None:
    builder = api_for("builder")
    assert builder.post("/caller-keys/", {"environment": "development", "name": "mine"}).status_code == 201
    denied = builder.post("/caller-keys/", {"environment": "production", "name": "mine"})
    assert denied.status_code == 403
    assert denied.json()["action"] == "caller-key.create"
    assert "Production" in denied.json()["detail"]
    assert builder.post("/gateways/", NEW_GATEWAY).status_code == 403
    assert Event.objects.filter(action="gateway.register", outcome="denied").count() == 1


def test_placements_tell_what_is_wanted_and_what_is_there(
    api: Api, spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], reconcile: Callable[..., int]
) -> None:
    register(spawn(), name="near")
    made = api.post("/caller-keys/", {"environment": "development", "name": "shop"}).json()
    (waiting,) = api.get("/placements/", settled="false").json()["results"]
    assert (waiting["status"], waiting["status_reason"]) == ("progressing", "waits for the first answer of near")
    reconcile()
    (placed,) = api.get("/placements/", gateway="near", kind="api-key").json()["results"]
    assert (placed["name"], placed["settled"], placed["observed_generation"]) == (made["public_id"], True, 1)
    assert placed["conditions"][0]["reason"] == "acknowledged"
    assert api.get("/placements/", kind="teapot").status_code == 422


def test_no_secret_is_in_the_database_the_log_or_an_event(
    acme: Inhabited,
    api: Api,
    spawn: Callable[..., GatewayProcess],
    reconcile: Callable[..., int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    process = spawn()
    api.post("/gateways/", NEW_GATEWAY | {"address": process.address, "deploy_token": process.token}, key="register")
    made = api.post("/caller-keys/", {"environment": "development", "name": "shop"}, key="make").json()
    reconcile()
    process.kill()
    api.post(f"/caller-keys/{made['id']}/revoke/")
    reconcile(rounds=1)
    secret = KeyText.parse(made["key"]).secret
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [acme.schema])
        tables = [name for (name,) in cursor.fetchall()]
        assert "gateways_callerkey" in tables
        for table in tables:
            # Not LIKE: an underscore in a secret would match anything.
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE strpos(t::text, %s) + strpos(t::text, %s) > 0',
                           [secret, process.token])  # fmt: skip
            assert cursor.fetchone()[0] == 0, table
    assert not any(secret.encode() in bytes(body) for body in Payload.objects.values_list("body", flat=True))
    assert secret not in caplog.text
    assert process.token not in caplog.text
    assert secret not in process.log
    assert process.token not in process.log


def test_lists_ask_a_constant_number_of_questions(acme: Inhabited, api: Api) -> None:
    def size(path: str) -> int:
        return len(reads(lambda: api.get(path)))

    paths = ("/environments/", "/gateways/", "/caller-keys/", "/placements/")
    api.post("/gateways/", NEW_GATEWAY)
    api.post("/caller-keys/", {"environment": "development", "name": "first"})
    few = [size(path) for path in paths]
    for number in range(2, 6):
        api.post("/gateways/", NEW_GATEWAY | {"name": f"eu-{number}", "address": f"http://127.0.0.1:{number}"})
        api.post("/caller-keys/", {"environment": "development", "name": f"key {number}"})
        Environment.objects.create(slug=f"e{number}", name=f"Environment {number}")
    assert [size(path) for path in paths] == few
