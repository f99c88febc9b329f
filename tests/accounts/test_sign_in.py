"""Signing in, being kept out, and how every way in ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from apps.accounts import commands
from apps.accounts.models import ApiToken, User
from apps.accounts.tokens import TokenText, authenticate
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.errors import Unauthenticated
from tests.harness.world import PASSWORD, Api, Inhabited

SYSTEM = Actor.system("tests")


@pytest.fixture(autouse=True)
def _fresh_limits() -> Any:
    cache.clear()
    yield
    cache.clear()


def _visitor(world: Inhabited, address: str = "10.0.0.1") -> Client:
    return Client(headers={"host": world.host}, REMOTE_ADDR=address)


def _sign_in(client: Client, email: str, password: str = PASSWORD) -> Any:
    return client.post("/accounts/login/", {"login": email, "password": password})


def _signed_in(client: Client) -> bool:
    return client.get("/profile/").status_code == 200


def test_a_member_signs_in_and_the_log_knows(acme: Inhabited) -> None:
    client = _visitor(acme)
    response = _sign_in(client, "Owner@ACME.example")
    assert (response.status_code, response["Location"]) == (302, "/")
    assert _signed_in(client)
    event = Event.objects.filter(action="user.sign-in").order_by("-sequence")[0]
    assert (event.actor_label, event.actor_address) == ("owner@acme.example", "10.0.0.1")


def test_signing_in_leads_to_where_one_wanted_to_go(acme: Inhabited) -> None:
    client = _visitor(acme)
    asked = client.get("/members/?search=x")
    assert asked["Location"] == "/accounts/login/?next=/members/%3Fsearch%3Dx"
    body = {"login": "owner@acme.example", "password": PASSWORD, "next": "/members/?search=x"}
    assert client.post("/accounts/login/", body)["Location"] == "/members/?search=x"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"])
def test_signing_in_leads_nowhere_else(acme: Inhabited, elsewhere: str) -> None:
    body = {"login": "owner@acme.example", "password": PASSWORD, "next": elsewhere}
    assert _visitor(acme).post("/accounts/login/", body)["Location"] == "/"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("owner@acme.example", "wrong"),
        ("nobody@acme.example", PASSWORD),
        ("owner@globex.example", PASSWORD),
        ("owner@acme.example", ""),
        ("no address", PASSWORD),
        ("owner@acme.example\x00", PASSWORD),
    ],
)
def test_whoever_is_no_member_gets_a_message_and_no_session(acme: Inhabited, email: str, password: str) -> None:
    client = _visitor(acme)
    response = _sign_in(client, email, password)
    assert response.status_code == 200
    assert b"is-invalid" in response.content or b"alert" in response.content
    assert not _signed_in(client)


def test_a_wrong_password_and_an_unknown_member_look_the_same(acme: Inhabited) -> None:
    def said(email: str) -> str:
        page = _sign_in(_visitor(acme), email, "wrong password").content.decode()
        return page.split("<form", 1)[1].split("</form", 1)[0].replace(email, "")

    def without_token(text: str) -> str:
        return text.split("csrfmiddlewaretoken", 1)[1].split(">", 1)[1]

    assert without_token(said("owner@acme.example")) == without_token(said("nobody@acme.example"))


def test_a_failed_attempt_is_recorded_without_its_password(acme: Inhabited) -> None:
    _sign_in(_visitor(acme, "10.1.2.3"), "owner@acme.example", "hunter2-hunter2")
    event = Event.objects.filter(action="user.sign-in-failed").order_by("-sequence")[0]
    assert (event.resource_label, event.actor_kind, event.actor_address) == (
        "owner@acme.example",
        "anonymous",
        "10.1.2.3",
    )
    assert "hunter2" not in str(Event.objects.values_list("detail", "changes", "resource_label"))


def test_guessing_is_slowed_down_for_the_guesser_alone(acme: Inhabited, globex: Inhabited) -> None:
    """Counting per account alone, whoever knows a colleague's address could keep him out for good."""
    guesser, colleague = _visitor(acme, "10.0.0.66"), _visitor(acme, "10.0.0.1")
    for _ in range(5):
        _sign_in(guesser, "owner@acme.example", "wrong")

    refused = _sign_in(guesser, "owner@acme.example")
    assert b"Too many failed" in refused.content
    assert not _signed_in(guesser)

    assert _sign_in(colleague, "owner@acme.example").status_code == 302
    assert _sign_in(_visitor(globex, "10.0.0.66"), "owner@globex.example").status_code == 302


def test_guessing_through_many_accounts_is_slowed_down_too(acme: Inhabited) -> None:
    guesser = _visitor(acme, "10.0.0.66")
    for number in range(10):
        _sign_in(guesser, f"somebody{number}@acme.example", "wrong")
    assert b"Too many failed" in _sign_in(guesser, "viewer@acme.example").content


def test_a_forged_forwarding_header_moves_nobody(acme: Inhabited) -> None:
    for number in range(6):
        client = Client(headers={"host": acme.host, "x-forwarded-for": f"10.7.7.{number}"}, REMOTE_ADDR="10.0.0.66")
        response = _sign_in(client, "owner@acme.example", "wrong")
    assert b"Too many failed" in response.content


def test_behind_a_proxy_people_are_told_apart_by_what_the_proxy_saw(acme: Inhabited, settings: Any) -> None:
    """Else everybody would share the proxy's address, and with it one limit."""
    settings.KAIZEN_BEHIND_PROXY = True

    def attempt(forwarded: str, password: str) -> Any:
        client = Client(headers={"host": acme.host, "x-forwarded-for": forwarded}, REMOTE_ADDR="10.0.0.254")
        return _sign_in(client, "owner@acme.example", password)

    for number in range(6):
        response = attempt(f"10.7.7.{number}, 192.0.2.66", "wrong")
    assert b"Too many failed" in response.content
    assert attempt("192.0.2.1", PASSWORD).status_code == 302
    assert Event.objects.filter(action="user.sign-in").order_by("-sequence")[0].actor_address == "192.0.2.1"
    assert attempt("nonsense", PASSWORD).status_code == 302
    assert Event.objects.filter(action="user.sign-in").order_by("-sequence")[0].actor_address == "10.0.0.254"


def test_nobody_signs_up_by_himself(acme: Inhabited) -> None:
    client = _visitor(acme)
    client.post("/accounts/signup/", {"email": "intruder@evil.example", "password1": PASSWORD, "password2": PASSWORD})
    assert not User.objects.filter(email="intruder@evil.example").exists()


def test_a_member_cannot_change_the_address_that_others_vouch_for(acme: Inhabited) -> None:
    client = acme.client("viewer")
    response = client.post("/accounts/email/", {"email": "other@evil.example", "action_add": ""})
    assert (response.status_code, response["Location"]) == (302, "/profile/")
    assert acme.users["viewer"].emailaddress_set.count() == 1


def test_a_deactivated_member_does_not_sign_in(acme: Inhabited) -> None:
    commands.deactivate(actor=SYSTEM, user=acme.users["viewer"])
    client = _visitor(acme)
    _sign_in(client, "viewer@acme.example")
    assert not _signed_in(client)


def test_deactivation_ends_sessions_and_tokens_at_once(acme: Inhabited) -> None:
    client, api = acme.client("viewer"), acme.api("viewer")
    assert _signed_in(client)
    assert api.get("/agents/").status_code == 200

    commands.deactivate(actor=acme.actor("owner"), user=acme.users["viewer"])

    assert not _signed_in(client)
    refused = api.get("/agents/")
    assert refused.status_code == 401
    assert "deactivated" in refused.json()["detail"]

    commands.reactivate(actor=acme.actor("owner"), user=acme.users["viewer"])
    assert api.get("/agents/").status_code == 200


def test_changing_the_password_ends_the_other_sessions_and_is_recorded(acme: Inhabited) -> None:
    here, elsewhere = _visitor(acme), _visitor(acme)
    _sign_in(here, "viewer@acme.example")
    _sign_in(elsewhere, "viewer@acme.example")
    new = "another long enough passphrase"

    response = here.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})

    assert response.status_code == 302
    assert _signed_in(here)
    assert not _signed_in(elsewhere)
    event = Event.objects.filter(action="user.change-password").order_by("-sequence")[0]
    assert (event.actor_label, event.resource_label) == ("viewer@acme.example", "viewer@acme.example")
    assert new not in str(Event.objects.values())
    assert _sign_in(elsewhere, "viewer@acme.example", new).status_code == 302


@pytest.mark.parametrize("weak", ["short", "qwerty123456", "123456789012345", "viewer@acme.example"])
def test_a_weak_password_is_refused_with_a_reason(acme: Inhabited, weak: str) -> None:
    client = acme.client("viewer")
    body = {"oldpassword": PASSWORD, "password1": weak, "password2": weak}
    response = client.post("/accounts/password/change/", body)
    assert response.status_code == 200
    assert User.objects.get(email="viewer@acme.example").check_password(PASSWORD)


def test_signing_out_ends_the_session(acme: Inhabited) -> None:
    client = acme.client("viewer")
    assert client.get("/accounts/logout/").status_code == 200, "a link alone must not sign anybody out"
    assert _signed_in(client)
    session = client.cookies["sessionid"].value
    client.post("/accounts/logout/")
    assert not _signed_in(client)
    client.cookies["sessionid"] = session
    assert not _signed_in(client), "the session is gone, not only its cookie"


class TestTokens:
    """API tokens: what stands for a member must mean nothing anywhere else, or later."""

    def test_a_token_acts_as_its_member_and_says_so_in_the_log(self, acme: Inhabited) -> None:
        assert acme.api("owner").post("/members/", {"email": "n@acme.example", "role": "viewer"}).status_code == 201
        event = Event.objects.get(action="user.create", resource_label="n@acme.example")
        assert event.actor_label == "owner@acme.example"
        assert event.actor_via.startswith("token:")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "kzs_acme",
            "kzs_acme_0123456789abcdef_short",
            "Bearer",
            "kzs_acme_0123456789abcdef_" + "A" * 43,
            "kzs_acme_0123456789abcdef_" + "A" * 44,
            "kzs_acme_0123456789ABCDEF_" + "A" * 43,
            "é" * 20,
            "x" * 5000,
        ],
    )
    def test_what_is_no_token_is_refused(self, acme: Inhabited, text: str) -> None:
        response = Client(headers={"host": acme.host}).get("/api/v1/members/", HTTP_AUTHORIZATION=f"Bearer {text}")
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("header", ["Bearer a b", "Bearer", "bearer  ", "Basic b3duZXI6cHc=", "Token x"])
    def test_another_kind_of_header_is_refused(self, acme: Inhabited, header: str) -> None:
        response = Client(headers={"host": acme.host, "authorization": header}).get("/api/v1/members/")
        assert response.status_code == 401

    def test_a_bad_token_is_not_made_good_by_a_session(self, acme: Inhabited) -> None:
        client = acme.client("owner")
        assert client.get("/api/v1/members/", headers={"authorization": "Bearer nonsense"}).status_code == 401

    def test_every_changed_character_makes_it_another(self, acme: Inhabited) -> None:
        token = str(acme.api("owner").token)
        for position in (len(token) - 1, len(token) - 20, len("kzs_acme_") + 3):
            changed = token[:position] + ("0" if token[position] != "0" else "1") + token[position + 1 :]
            assert Api(acme.host, changed).get("/members/").status_code == 401

    def test_a_revoked_token_is_refused_and_says_so_to_its_holder(self, acme: Inhabited) -> None:
        token, text = commands.create_token(actor=acme.actor(), user=acme.users["owner"], name="ci")
        api = Api(acme.host, str(text))
        assert api.get("/members/").status_code == 200
        commands.revoke_token(actor=acme.actor(), token=token)
        assert "revoked" in api.get("/members/").json()["detail"]
        guess = TokenText("acme", text.public_id, "A" * 43)
        assert "revoked" not in Api(acme.host, str(guess)).get("/members/").json()["detail"]

    def test_an_expired_token_is_refused(self, acme: Inhabited) -> None:
        soon = timezone.now() + timedelta(minutes=5)
        token, text = commands.create_token(actor=acme.actor(), user=acme.users["owner"], name="ci", expires_at=soon)
        assert Api(acme.host, str(text)).get("/members/").status_code == 200
        ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())
        assert "expired" in Api(acme.host, str(text)).get("/members/").json()["detail"]

    def test_a_token_names_its_organization(self, acme: Inhabited, globex: Inhabited) -> None:
        """Also if the same row stood in the other schema, as after a copy: the name in the text must fit."""
        _, text = commands.create_token(actor=acme.actor(), user=acme.users["owner"], name="ci")
        row = ApiToken.objects.get(public_id=text.public_id)
        with globex.inside():
            ApiToken.objects.create(
                user=globex.users["owner"], name="copy", public_id=row.public_id, secret_hash=row.secret_hash
            )
            with pytest.raises(Unauthenticated):
                authenticate(str(text), organization="globex")
        assert Api(globex.host, str(text)).get("/members/").status_code == 401

    def test_only_a_hash_is_stored(self, acme: Inhabited) -> None:
        _, text = commands.create_token(actor=acme.actor(), user=acme.users["owner"], name="ci")
        assert text.secret not in str(list(ApiToken.objects.values()))
        assert text.secret not in repr(text)
        assert text.secret not in str(list(Event.objects.values()))

    def test_last_use_is_kept_to_the_minute(self, acme: Inhabited) -> None:
        api = acme.api("owner")
        api.get("/members/")
        row = ApiToken.objects.get(name="test", user=acme.users["owner"])
        assert row.last_used_at is not None
        first = row.last_used_at
        api.get("/members/")
        row.refresh_from_db()
        assert row.last_used_at == first, "not a write for every request"

    def test_one_sees_and_revokes_ones_own_alone(self, acme: Inhabited) -> None:
        token, _ = commands.create_token(actor=acme.actor("viewer"), user=acme.users["viewer"], name="ci")
        owner = acme.api("owner")
        assert str(token.pk) not in owner.get("/tokens/").content.decode()
        assert owner.post(f"/tokens/{token.pk}/revoke/").status_code == 404
        assert acme.client("owner").post(f"/profile/tokens/{token.pk}/revoke/").status_code == 404
        assert acme.api("viewer").post(f"/tokens/{token.pk}/revoke/").status_code == 200
