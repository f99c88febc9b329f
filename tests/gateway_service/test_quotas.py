"""Windows, remainders, shares and prices: the arithmetic of limits."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.caller_keys import Budget, BudgetWindow, KeyLimits
from gateway_service.errors import GatewayError
from gateway_service.limits.quotas import Demand, quotas_of, window_at
from gateway_service.limits.shares import Shares
from gateway_service.limits.spending import tokens_in
from gateway_service.models.messages import Usage
from gateway_service.prices import Price, PriceError


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        (BudgetWindow.HOUR, "2024-02-29T23:00:00", "2024-03-01T00:00:00"),
        (BudgetWindow.DAY, "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        (BudgetWindow.WEEK, "2024-02-26T00:00:00", "2024-03-04T00:00:00"),
        (BudgetWindow.MONTH, "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
    ],
)
def test_calendar_windows(window: BudgetWindow, begin: str, end: str) -> None:
    assert window_at(window, at("2024-02-29T23:59:59")) == (at(begin), at(end))


@given(st.sampled_from(BudgetWindow), st.integers(0, 4_000_000_000))
def test_windows_follow_each_other_without_a_gap(window: BudgetWindow, now: int) -> None:
    begin, end = window_at(window, now)
    assert begin <= now < end
    assert window_at(window, end)[0] == end


@given(
    limit=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=120),
)
def test_no_minute_ever_sees_more_than_the_limit(limit: int, pauses: list[float]) -> None:
    limits, spent, granted, now = KeyLimits(requests_per_minute=limit), Counter[int](), [], 1_000_000.0
    for pause in pauses:
        now += pause
        (quota,) = quotas_of(limits, Demand(0), now)
        counted = {slot: amount for slot, amount in spent.items() if slot >= quota.first}
        if quota.left(counted):
            spent[quota.slot] += quota.share(counted)
            granted.append(now)
        else:
            # Who waits as long as told is served.
            later = now + quota.reset_s(counted, now)
            (then,) = quotas_of(limits, Demand(0), later)
            assert then.left({slot: amount for slot, amount in spent.items() if slot >= then.first})
    for moment in granted:
        assert sum(moment - 60 < other <= moment for other in granted) <= limit


def test_an_expectation_beyond_the_limit_takes_what_is_left() -> None:
    limits = KeyLimits(budget=Budget(amount=100, unit="tokens", window=BudgetWindow.DAY))
    (quota,) = quotas_of(limits, Demand(1_000), at("2024-01-01T12:00:00"))
    assert quota.share({}) == 100
    assert quota.share({quota.slot: 70}) == 30
    assert quota.share({quota.slot: 130}) == 0
    assert quota.reset_s({}, at("2024-01-01T12:00:00")) == 43_200


@given(st.integers(1, 40), st.lists(st.tuples(st.booleans(), st.sampled_from("abcd")), max_size=300))
def test_shares_are_never_more_than_places_and_spare_ones(places: int, steps: list[tuple[bool, str]]) -> None:
    shares, running = Shares(places), Counter[str]()
    for takes, key in steps:
        if not takes:
            if running[key]:
                running[key] -= 1
                shares.give_back(key)
            continue
        full = running.total() >= places
        try:
            shares.take(key)
        except GatewayError:
            assert full
            continue
        running[key] += 1
        assert running.total() <= places + -(-places // 8)
        if full:
            keys = sum(count > 0 for count in running.values())
            assert running[key] <= places // keys


def test_a_newcomer_reaches_its_share_while_the_first_one_keeps_asking() -> None:
    shares, running = Shares(16), Counter[str]()
    for _ in range(16):
        shares.take("first")
        running["first"] += 1
    for _ in range(60):
        for key in ("first", "newcomer"):
            try:
                shares.take(key)
            except GatewayError:
                continue
            running[key] += 1
        longest = max(running, key=lambda key: running[key])
        shares.give_back(longest)
        running[longest] -= 1
    assert running["newcomer"] == 8


def test_prices_round_up_to_a_millionth() -> None:
    price = Price("EUR", Decimal("0.15"), Decimal("0.6"))
    assert price.micro(Usage(1_000_000, 1_000_000)) == 750_000
    assert price.micro(Usage(1, 0)) == 1
    assert price.micro(Usage()) == 0


@pytest.mark.parametrize(
    "table",
    [
        {"input_price": "1"},
        {"input_price": "1", "output_price": "1"},
        {"input_price": "1", "output_price": "1", "currency": "eur"},
        {"input_price": "cheap", "output_price": "1", "currency": "EUR"},
        {"input_price": "-1", "output_price": "1", "currency": "EUR"},
        {"input_price": "NaN", "output_price": "1", "currency": "EUR"},
    ],
)
def test_half_a_price_is_none(table: dict[str, str]) -> None:
    with pytest.raises(PriceError):
        Price.of_profile(table)


def test_texts_are_estimated_by_their_bytes() -> None:
    assert tokens_in("") == 0
    assert tokens_in("abcde") == 2
    assert tokens_in("日本") == 2
    assert tokens_in("\ud800") == 1
