"""Limits of caller keys: set in forms and through the API, checked, pushed, told in words, and kept by a gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.audit.models import Event
from apps.core.errors import Conflict
from apps.gateways.caller_keys import key_body
from apps.gateways.commands import create_key, limit_key, revoke_key
from apps.gateways.forms import LimitsForm, limits_as_fields
from apps.gateways.limits import limits_in_words
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from contract.caller_keys import CallerKey as CallerKeyDocument
from tests.harness.gateway import GatewayProcess
from tests.harness.world import Api, Inhabited


@pytest.fixture
def api(api_for: Callable[[str], Api]) -> Api:
    return api_for("owner")


BUDGET = {"amount": 12_500_000, "unit": "EUR", "window": "month"}


def test_limits_are_made_shown_changed_and_ended(acme: Inhabited, api: Api) -> None:
    body = {"environment": "development", "name": "shop", "limits": {"requests_per_minute": 60, "budget": BUDGET}}
    made = api.post("/caller-keys/", body).json()
    none = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent", "budget"))
    assert made["limits"] == none | body["limits"]
    address = f"/caller-keys/{made['id']}/"
    changed = api.patch(address, {"limits": {"concurrent": 5, "budget": None}})
    assert changed.status_code == 200
    assert changed.json()["limits"] == none | {"concurrent": 5}
    event = Event.objects.get(action="caller-key.limit")
    assert event.changes["limits"] == [body["limits"], {"concurrent": 5}]
    assert api.patch(address, {"limits": {}}).json()["limits"] == none


@pytest.mark.parametrize(
    "limits",
    [
        {"calls": 5},
        {"requests_per_minute": 0},
        {"requests_per_minute": "many"},
        {"concurrent": 2_000_000},
        {"tokens_per_minute": 2**60},
        {"budget": {"amount": 5, "unit": "tokens"}},
        {"budget": {"amount": 5, "unit": "euros", "window": "day"}},
        {"budget": {"amount": 5, "unit": "EUR", "window": "year"}},
        [],
    ],
)
def test_a_bad_limit_is_refused_where_it_is_written(api: Api, limits: Any) -> None:
    answer = api.post("/caller-keys/", {"environment": "development", "name": "shop", "limits": limits})
    assert answer.status_code == 422
    assert all(error["field"].startswith("limits") for error in answer.json()["errors"])
    assert not CallerKey.objects.exists()


def test_limits_are_pushed_to_every_gateway_and_kept_there(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    reconcile: Callable[..., int],
) -> None:
    process = spawn()
    register(process, name="near")
    key, _ = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    reconcile()
    limit_key(actor=acme.actor("owner"), key=key, limits={"requests_per_minute": 1})
    assert not Placement.objects.get(kind="api-key").settled
    reconcile()
    assert Placement.objects.get(kind="api-key").settled
    key.refresh_from_db()
    limited = CallerKeyDocument.parse(key_body(key))
    assert limited.limits.requests_per_minute == 1
    assert process.admin().living()["api-key", key.public_id] == limited.digest


def test_a_form_writes_money_in_units(acme: Inhabited) -> None:
    client = acme.client("owner")
    fields = {"requests_per_minute": "60", "budget_amount": "12.5", "budget_unit": "eur", "budget_window": "month"}
    client.post("/caller-keys/new/", {"environment": "development", "name": "shop", "scopes": "", **fields})
    key = CallerKey.objects.get(name="shop")
    assert key.limits == {"requests_per_minute": 60, "budget": BUDGET}
    page = client.get(key.get_absolute_url()).content.decode()
    assert "60 calls a minute, 12.50 EUR a month" in page
    shown = client.get(f"{key.get_absolute_url()}limits/").content.decode()
    assert 'value="12.5"' in shown
    saved = client.post(f"{key.get_absolute_url()}limits/", {"concurrent": "3", "budget_window": "day"})
    assert saved.status_code == 302
    key.refresh_from_db()
    assert key.limits == {"concurrent": 3}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"requests_per_minute": "0"}, "requests_per_minute"),
        ({"budget_amount": "1.5"}, "budget_amount"),
        ({"budget_amount": "0"}, "budget_amount"),
        ({"budget_amount": "-3", "budget_unit": "EUR"}, "budget_amount"),
        ({"budget_amount": "1.1234567", "budget_unit": "EUR"}, "budget_amount"),
        ({"budget_amount": "5", "budget_unit": "euro"}, "budget_unit"),
        ({"budget_amount": "5", "budget_window": "year"}, "budget_window"),
        ({"budget_amount": "NaN"}, "budget_amount"),
    ],
)
def test_a_form_says_which_field_is_wrong(fields: dict[str, str], problem: str) -> None:
    form = LimitsForm(fields)
    assert not form.is_valid()
    assert list(form.errors) == [problem]


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"requests_per_minute": 1, "tokens_per_minute": 2, "concurrent": 3},
        {"budget": {"amount": 1_000_000, "unit": "tokens", "window": "hour"}},
        {"budget": {"amount": 100_000_000, "unit": "USD", "window": "week"}},
        {"budget": {"amount": 1, "unit": "USD", "window": "day"}},
    ],
)
def test_an_unchanged_form_changes_nothing(limits: dict[str, Any]) -> None:
    form = LimitsForm(limits_as_fields(limits))
    assert form.is_valid(), form.errors
    assert form.chosen_limits() == limits


def test_limits_in_words() -> None:
    every = {
        "requests_per_minute": 60, "tokens_per_minute": 10_000, "concurrent": 5,
        "budget": {"amount": 1_000_000, "unit": "tokens", "window": "hour"},
    }  # fmt: skip
    words = "60 calls a minute, 10,000 tokens a minute, 5 at once, 1,000,000 tokens an hour"
    assert ", ".join(limits_in_words(every)) == words
    assert limits_in_words({"budget": {"amount": 5, "unit": "EUR", "window": "day"}}) == ["0.000005 EUR a day"]
    assert limits_in_words({}) == []


def test_a_key_that_has_ended_takes_no_limits(acme: Inhabited, development: Environment) -> None:
    key, _ = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    revoke_key(actor=acme.actor("owner"), key=key)
    with pytest.raises(Conflict):
        limit_key(actor=acme.actor("owner"), key=key, limits={})
