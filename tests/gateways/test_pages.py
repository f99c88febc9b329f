"""Pages of environments, gateways and keys, through HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.gateways.commands import create_key
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from contract.envelope import generate_private_key
from tests.harness.gateway import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.world import Inhabited


def test_every_page_opens_for_a_viewer_and_offers_no_change(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    reconcile: Callable[..., int],
) -> None:
    gateway = register(spawn())
    key, _ = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    reconcile()
    client = acme.client("viewer")
    for path in (
        "/environments/",
        "/environments/development/",
        "/environments/development/?tab=history",
        "/gateways/",
        "/gateways/?environment=development&status=healthy&search=dev",
        gateway.get_absolute_url(),
        f"{gateway.get_absolute_url()}?tab=placements",
        f"{gateway.get_absolute_url()}?tab=history",
        "/caller-keys/",
        "/caller-keys/?state=active",
        key.get_absolute_url(),
    ):
        page = client.get(path)
        assert page.status_code == 200, path
        text = page.content.decode()
        assert "New key" not in text, path
        assert "Register gateway" not in text, path
        assert "/revoke/" not in text, path
    for path in ("/gateways/register/new/", "/caller-keys/new/", f"{gateway.get_absolute_url()}edit/"):
        assert client.get(path).status_code == 403, path


def test_a_gateway_is_registered_on_its_page(
    acme: Inhabited, spawn: Callable[..., GatewayProcess], reconcile: Callable[..., int]
) -> None:
    process = spawn()
    client = acme.client("owner")
    form = {"environment": "staging", "name": "eu-1", "address": process.address, "deploy_token": process.token}
    answer = client.post("/gateways/register/new/", form)
    assert (answer.status_code, answer.headers["location"]) == (302, "/gateways/eu-1/")
    reconcile()
    page = client.get("/gateways/eu-1/").content.decode()
    assert "healthy" in page
    assert "answers as agreed" in page
    assert process.token not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"address": "ftp://gateway.example.com"}, "Start the address with https:// or http://."),
        ({"address": "http://169.254.169.254"}, "a link-local address"),
        ({"address": "http://10.1.2.3:8080"}, "a private address"),
        ({"address": "http://localhost:1/path"}, "Leave out everything after the port"),
        ({"name": "Not a name"}, "Use lower-case letters, digits and single hyphens"),
        ({"deploy_token": "short"}, "A deploy token has 16 to 500"),
        ({"environment": "moon"}, "Select a valid choice"),
    ],
)
def test_a_bad_registration_says_what_is_wrong_at_its_field(
    acme: Inhabited, change: dict[str, str], message: str
) -> None:
    form = {"environment": "staging", "name": "eu-1", "address": "http://127.0.0.1:9", "deploy_token": "t" * 32}
    answer = acme.client("owner").post("/gateways/register/new/", form | change)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert not Gateway.objects.exists()
    assert "t" * 32 not in answer.content.decode()


def test_a_builder_makes_a_key_in_development_and_nowhere_else(acme: Inhabited) -> None:
    client = acme.client("builder")
    page = client.get("/caller-keys/new/").content.decode()
    assert "development" in page
    assert 'value="production"' not in page
    made = client.post("/caller-keys/new/", {"environment": "development", "name": "my tests", "scopes": ""})
    assert made.status_code == 200
    key = CallerKey.objects.get(name="my tests")
    assert f"kzk_{key.public_id}_" in made.content.decode()
    refused = client.post("/caller-keys/new/", {"environment": "production", "name": "sneaky", "scopes": ""})
    assert refused.status_code == 422
    assert not CallerKey.objects.filter(name="sneaky").exists()


def test_revoking_names_the_gateways_that_have_not_confirmed(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    reconcile: Callable[..., int],
) -> None:
    near, far = spawn(), spawn()
    register(near, name="near")
    register(far, name="far")
    key, _ = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    reconcile()
    far.kill()
    client = acme.client("owner")
    assert client.post(f"{key.get_absolute_url()}revoke/").status_code == 302
    reconcile(rounds=1)
    page = client.get(key.get_absolute_url()).content.decode()
    assert "One gateway has not confirmed that the key is gone" in page
    assert "<strong>far</strong>" in page
    assert Placement.objects.get(gateway__name="near", kind="api-key").status == "removed"

    far.start()
    Placement.objects.filter(gateway__name="far").update(next_attempt_at="2020-01-01T00:00Z")
    reconcile()
    page = client.get(key.get_absolute_url()).content.decode()
    assert "every gateway has confirmed" in page


def test_live_regions_show_the_present_and_only_to_those_who_may_see_it(
    acme: Inhabited, globex: Inhabited, development: Environment, register: Callable[..., Gateway]
) -> None:
    from apps.core.actors import Actor
    from apps.core.errors import NotFound
    from apps.core.live import fragments

    key, _ = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    gateway = register(GatewayProcess(Path("/nowhere"), "", generate_private_key()), name="eu-1")
    shown = {"gateway": gateway.pk, "environment": development.pk, "caller-key": key.pk}
    for name, identifier in shown.items():
        render = fragments[name].render
        assert "eu-1" in render(acme.actor("viewer"), str(identifier)) or name == "gateway", name
        for actor, asked in (
            (Actor.anonymous(), str(identifier)),
            (globex.actor("owner"), str(identifier)),
            (acme.actor("owner"), "no-such-key"),
            (acme.actor("owner"), "00000000-0000-0000-0000-000000000000"),
        ):
            with pytest.raises(NotFound):
                render(actor, asked)

    gateway.status, gateway.status_reason = "unreachable", "connection refused"
    gateway.save()
    assert "connection refused" in fragments["gateway"].render(acme.actor("viewer"), str(gateway.pk))
