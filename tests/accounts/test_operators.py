"""Operators sign in on the public host, to Django's admin."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import Event
from apps.core.tenancy import public
from tests.harness.world import PASSWORD

EMAIL = "operator@studio.example"
SIGN_IN = "/admin/login/?next=/admin/"


@pytest.fixture
def client(db: None) -> Client:
    """A browser on the public host, where one operator exists."""
    with public():
        User.objects.create_superuser(EMAIL, PASSWORD)
    cache.clear()
    return Client(headers={"host": "localhost"})


def _sign_in(client: Client, password: str) -> int:
    return client.post(SIGN_IN, {"username": EMAIL, "password": password}).status_code


def test_an_operator_signs_in_and_it_is_recorded(client: Client) -> None:
    assert _sign_in(client, PASSWORD) == 302
    assert client.get("/admin/tenants/organization/").status_code == 200
    with public():
        assert Event.objects.order_by("-sequence")[0].action == "user.sign-in"


def test_a_guesser_is_stopped_and_the_operator_elsewhere_is_not(client: Client) -> None:
    answers = [client.post(SIGN_IN, {"username": EMAIL, "password": f"guess {n}"}) for n in range(12)]
    assert "Too many failed attempts" in answers[-1].content.decode()
    assert (
        "Too many failed attempts" in client.post(SIGN_IN, {"username": EMAIL, "password": PASSWORD}).content.decode()
    )

    elsewhere = Client(headers={"host": "localhost"}, REMOTE_ADDR="10.1.2.3")
    assert _sign_in(elsewhere, PASSWORD) == 302


def test_a_member_is_no_operator(client: Client, installation: object) -> None:
    refused = client.post(SIGN_IN, {"username": "owner@acme.example", "password": PASSWORD})
    assert refused.status_code == 200
    assert client.get("/admin/").status_code == 302


def test_a_new_operator_can_be_made_and_is_recorded(client: Client) -> None:
    _sign_in(client, PASSWORD)
    form = {"email": "second@studio.example", "name": "Second", "password1": PASSWORD, "password2": PASSWORD}
    answer = client.post("/admin/accounts/user/add/", form)
    assert answer.status_code == 302, answer.content.decode()[:2000]
    with public():
        assert User.objects.get(email="second@studio.example").is_superuser
        event = Event.objects.order_by("-sequence")[0]
    assert (event.action, event.actor_label) == ("user.create", EMAIL)
    assert event.changes["password"] == [None, "[hidden]"]
