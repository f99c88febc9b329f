"""Nothing of one organization is reachable from another, on any address that the URL configuration knows.

Addresses are enumerated, so that a new one is covered without anyone remembering; one whose argument no factory in
`belongings` knows fails the first test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import Event
from tests.harness.world import Api, Inhabited
from tests.isolation.belongings import MARK, Belongings
from tests.isolation.routes import METHODS, Route, routes

TENANT = routes("kaizen_site.urls_tenant")
PUBLIC = routes("kaizen_site.urls_public")
# What somebody who is not signed in may ask for, each for its reason.
OPEN = {
    "/healthz": "a load balancer asks",
    "account_login": "is how one signs in",
    "account_logout": "ends a session; without one it leads to the start page",
    "account_signup": "says that accounts are made by administrators",
    "account_inactive": "says that an account is deactivated",
    "account_reset_password": "sends a link to a forgetful member",
    "account_reset_password_done": "says that a link was sent",
    "account_reset_password_from_key": "is where the link leads; it carries its own proof",
    "account_reset_password_from_key_done": "says that the password is changed",
    "account_email_verification_sent": "is a step of signing in",
    "account_confirm_login_code": "is a step of signing in; without one it leads to sign-in",
    "account_email": "leads to the profile, which asks for sign-in",
}
OPEN_IN_PUBLIC = {
    "/healthz": "a load balancer asks",
    "public:landing": "the bare host's start page",
    "public:go": "leads to an organization's host",
    "admin:login": "is how operators sign in",
    "admin:logout": "ends an operator's session",
    "admin:jsi18n": "words for the admin's scripts",
}
# Addresses that name no object: what they answer is about the organization of whoever asks.
ABOUT_ONESELF = {
    "telemetry:activity": "a chart over one's own executions that are called so; there are none",
}
# An address with a proof of its own, which another test tells about (tests/accounts/test_password_reset.py).
WITH_OWN_PROOF = {"account_reset_password_from_key"}


@pytest.fixture
def belongings(acme: Inhabited, globex: Inhabited) -> Belongings:
    with globex.inside():
        events = Event.objects.count()
    return Belongings(acme, events=events)


def _named(names: set[str] | dict[str, str]) -> set[str]:
    return {route.name for route in (*TENANT, *PUBLIC)} & set(names)


def _calls(client: Client, route: Route, address: str) -> Iterator[tuple[str, Any]]:
    for method in METHODS:
        arguments: dict[str, Any] = {} if method == "get" else {"data": "{}", "content_type": "application/json"}
        yield f"{method.upper()} {address}", getattr(client, method)(address, **arguments)


def test_every_variable_part_of_an_address_has_a_factory(belongings: Belongings) -> None:
    missing = {
        (route.name, argument)
        for route in TENANT
        for argument in route.arguments
        if route.name not in WITH_OWN_PROOF and argument not in belongings.by_argument
    }
    assert not missing, "teach tests/isolation/belongings.py to make what these addresses name"


def test_the_exceptions_exist() -> None:
    """A name in a list of exceptions that no route has would hide the next route of that name."""
    for exceptions in (OPEN, OPEN_IN_PUBLIC, ABOUT_ONESELF, WITH_OWN_PROOF):
        assert _named(exceptions) == set(exceptions)


def test_the_addresses_lead_to_the_objects(acme: Inhabited, belongings: Belongings) -> None:
    """Else the 404 of a stranger would prove nothing."""
    page, api = acme.client("owner"), acme.api("owner").client
    lost = []
    for route in TENANT:
        if not route.arguments or route.name in WITH_OWN_PROOF:
            continue
        response = (api if route.is_api else page).get(route.address(belongings.by_argument))
        # 404 is also what a page says that only exists in another state of its object, such as restoring one that was
        # not deleted; every such address shares its object with one that answers.
        if response.status_code >= 500 or (response.status_code == 404 and route.name != "agents:restore"):
            lost.append((route.name, response.status_code))
    assert lost == []


def test_a_stranger_who_owns_another_organization_finds_nothing(
    acme: Inhabited, globex: Inhabited, belongings: Belongings
) -> None:
    page, api = globex.client("owner"), globex.api("owner").client
    found = []
    for route in TENANT:
        if not route.arguments or route.name in WITH_OWN_PROOF | set(ABOUT_ONESELF):
            continue
        for call, response in _calls(api if route.is_api else page, route, route.address(belongings.by_argument)):
            if response.status_code not in (404, 405) or MARK in _without_address(response, belongings):
                found.append((call, response.status_code))
    assert found == []


def _without_address(response: Any, belongings: Belongings) -> str:
    """The body without the address that was asked for, which a page may repeat (the form of a sign-in does)."""
    body: str = response.content.decode()
    for value in belongings.by_argument.values():
        body = body.replace(str(value), "")
    return body


def test_what_a_stranger_sees_of_his_own_holds_nothing_of_others(
    acme: Inhabited, globex: Inhabited, belongings: Belongings
) -> None:
    page, api = globex.client("owner"), globex.api("owner").client
    leaks, answered = [], 0
    for route in TENANT:
        if route.arguments and route.name not in ABOUT_ONESELF:
            continue
        response = (api if route.is_api else page).get(route.address(belongings.by_argument))
        answered += response.status_code == 200
        body = _without_address(response, belongings) if route.arguments else response.content.decode()
        if MARK in body:
            leaks.append(route.name)
    assert leaks == []
    assert answered > 20, "the lists and forms of globex answer"


def test_a_token_of_another_organization_is_refused_everywhere(
    acme: Inhabited, globex: Inhabited, belongings: Belongings
) -> None:
    stolen = Api(globex.host, acme.api("owner").token).client
    accepted = [
        call
        for route in TENANT
        if route.is_api
        for call, response in _calls(stolen, route, route.address(belongings.by_argument))
        if response.status_code != 401
    ]
    assert accepted == []


def test_a_session_of_another_organization_is_no_session(
    acme: Inhabited, globex: Inhabited, belongings: Belongings
) -> None:
    _refuses_strangers(_with_cookies_of(acme, globex.host), TENANT, OPEN, belongings)


def test_nobody_is_let_in_without_signing_in(acme: Inhabited, globex: Inhabited, belongings: Belongings) -> None:
    _refuses_strangers(Client(headers={"host": acme.host}), TENANT, OPEN, belongings)


def _refuses_strangers(client: Client, known: list[Route], open_: dict[str, str], belongings: Belongings) -> None:
    let_in = []
    for route in known:
        if route.name in open_:
            continue
        address = route.address({argument: belongings.by_argument[argument] for argument in route.arguments})
        for call, response in _calls(client, route, address):
            refused = response.status_code == 401 if route.is_api else _leads_to_sign_in(response)
            if not refused:
                let_in.append((call, response.status_code, response.headers.get("Location", "")))
    assert let_in == []


def _leads_to_sign_in(response: Any) -> bool:
    return response.status_code == 302 and response["Location"].startswith("/accounts/login/")


def _with_cookies_of(world: Inhabited, host: str) -> Client:
    """A browser with the session of one organization, on the host of another; real browsers would not even send it."""
    client = Client(headers={"host": host})
    client.cookies = world.client("owner").cookies
    return client


def test_a_member_is_nobody_on_the_public_host(acme: Inhabited) -> None:
    let_in = []
    for client in (Client(headers={"host": "localhost"}), _with_cookies_of(acme, "localhost")):
        for route in PUBLIC:
            if route.name in OPEN_IN_PUBLIC:
                continue
            address = route.address(dict.fromkeys(route.arguments, "1"))
            for call, response in _calls(client, route, address):
                away = response.status_code == 302 and response["Location"].startswith("/admin/login/")
                if not away and response.status_code not in (404, 405):
                    let_in.append((call, response.status_code))
    assert let_in == []


@pytest.mark.parametrize("route", [route for route in TENANT if route.is_api], ids=lambda route: route.name)
def test_the_public_host_has_no_api(route: Route, acme: Inhabited) -> None:
    address = route.address(dict.fromkeys(route.arguments, "1"))
    response = Api("localhost", acme.api("owner").token).client.get(address)
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def test_a_foreign_object_named_in_a_body_is_unknown(
    acme: Inhabited, globex: Inhabited, belongings: Belongings
) -> None:
    """What an address cannot reach, a member of a body cannot either."""
    with globex.inside():
        own = Belongings(globex, events=0, mark="zqglobex")
    api = globex.api("owner")
    gateway = {"name": "x", "address": "http://127.0.0.1:9", "deploy_token": "t" * 20}
    rollback = f"/deployments/{own.deployment.pk}/rollback/"
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/deployments/", {"agent": belongings.agent.slug, "environment": own.environment.slug}),
        ("/deployments/", {"agent": own.agent.slug, "environment": belongings.environment.slug}),
        ("/caller-keys/", {"name": "x", "environment": belongings.environment.slug}),
        ("/gateways/", {**gateway, "environment": belongings.environment.slug}),
        (rollback, {"to": str(belongings.release.pk)}),
        (rollback, {"to": belongings.release.digest}),
    ]
    answers = [(path, json.dumps(body), api.post(path, body)) for path, body in bodies]
    assert [(path, body, r.status_code) for path, body, r in answers if r.status_code not in (404, 422)] == []
