"""Caller keys: their text, their hash, their scopes and their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.caller_keys import Budget, BudgetWindow, CallerKey, KeyLimits, KeyText
from contract.canonical import canonical_json
from contract.errors import ContractError


def payload(key: KeyText, **members: Any) -> CallerKey:
    return CallerKey.parse({"hash": key.hash, "scopes": ["*"], **members})


def test_a_key_matches_itself_only() -> None:
    key = KeyText.generate()
    assert payload(key).matches(KeyText.parse(key.text))
    assert not payload(key).matches(KeyText.generate(key.id))
    assert not payload(key).matches(KeyText("0" * 24, key.secret))


def test_the_secret_is_in_no_repr() -> None:
    key = KeyText.generate()
    assert key.secret not in repr(key)
    assert key.secret not in repr(payload(key))


@pytest.mark.parametrize(
    "text", ["", "kzk", "kzk_", "kzk_0123456789ab", "kzk_0123456789ab_", "key_0123456789ab_x", "kzk_UPPERCASE_x",
             "kzk_short_x", "kzk_0123456789ab_" + "x" * 200, "kzk_0123456789ab_ü"]
)  # fmt: skip
def test_other_texts_are_no_keys_and_are_not_repeated(text: str) -> None:
    with pytest.raises(ContractError) as refusal:
        KeyText.parse(text)
    assert len(text) < 15 or text not in str(refusal.value)


def test_scopes_name_registrations() -> None:
    key = KeyText.generate()
    assert payload(key).allows("greeter-production")
    scoped = payload(key, scopes=["greeter-production"])
    assert scoped.allows("greeter-production")
    assert not scoped.allows("greeter-staging")


@pytest.mark.parametrize("scopes", [[], ["*", "greeter-production"], ["Greeter"], ["a@canary"], [7]])
def test_wrong_scopes_are_refused(scopes: list[Any]) -> None:
    with pytest.raises(ContractError) as refusal:
        payload(KeyText.generate(), scopes=scopes)
    assert refusal.value.path.startswith("scopes")


def test_a_key_ends_at_its_time() -> None:
    now = datetime.now(UTC)
    key = payload(KeyText.generate(), expires_at=now.isoformat())
    assert not key.expired(now - timedelta(seconds=1))
    assert key.expired(now)
    assert not payload(KeyText.generate()).expired()


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "tomorrow", 5])
def test_an_end_without_a_time_zone_is_refused(moment: Any) -> None:
    with pytest.raises(ContractError) as refusal:
        payload(KeyText.generate(), expires_at=moment)
    assert refusal.value.path == "expires_at"


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        ({"calls_on_sundays": 5}, "limits.calls_on_sundays"),
        ({"requests_per_minute": 0}, "limits.requests_per_minute"),
        ({"requests_per_minute": "5"}, "limits.requests_per_minute"),
        ({"tokens_per_minute": 1.5}, "limits.tokens_per_minute"),
        ({"concurrent": -1}, "limits.concurrent"),
        ({"budget": {"amount": 1, "unit": "tokens"}}, "limits.budget.window"),
        ({"budget": {"amount": 0, "unit": "tokens", "window": "day"}}, "limits.budget.amount"),
        ({"budget": {"amount": 1, "unit": "eur", "window": "day"}}, "limits.budget.unit"),
        ({"budget": {"amount": 1, "unit": "EUR", "window": "year"}}, "limits.budget.window"),
    ],
)
def test_a_limit_that_nothing_enforces_is_refused(limits: dict[str, Any], path: str) -> None:
    with pytest.raises(ContractError) as refusal:
        payload(KeyText.generate(), limits=limits)
    assert refusal.value.path == path


def test_keys_without_limits_keep_their_digest() -> None:
    """As it was before there were limits: keys that gateways hold must not look changed."""
    before = {"hash": "sha256:" + "0" * 64, "limits": {}, "scopes": ["*"]}
    assert CallerKey.model_validate(before).canonical == canonical_json(before)


def test_limits_travel_without_those_that_are_not_set() -> None:
    limits = KeyLimits(concurrent=3, budget=Budget(amount=5, unit="EUR", window=BudgetWindow.DAY))
    key = CallerKey(hash="sha256:" + "0" * 64, scopes=["*"], limits=limits)
    assert key.to_json()["limits"] == {"concurrent": 3, "budget": {"amount": 5, "unit": "EUR", "window": "day"}}
    assert CallerKey.parse(key.canonical).limits == limits
