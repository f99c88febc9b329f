"""Releases compared by their executions: exact figures, and costs only where they can be compared fairly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.gateways.models import Environment, Gateway
from apps.telemetry.collection import read_log
from apps.telemetry.comparison import ReleaseFigures, compare_costs, figures_of
from apps.telemetry.models import Execution
from apps.telemetry.prices import FREE, UNPRICED, Price, pricing_of, profiles_of
from contract.canonical import canonical_json
from tests.telemetry.conftest import add_gateway
from tests.telemetry.logs import OTHER_RELEASE, RELEASE, Log

NOW = datetime.now(UTC).replace(microsecond=0)
EUR = Price("EUR", Decimal(2), Decimal(8))
USD = Price("USD", Decimal(1), Decimal(1))


def _figures(production: Environment, digest: str = RELEASE, **narrower: Any) -> ReleaseFigures:
    chosen: dict[str, Any] = {"since": NOW - timedelta(hours=1), **narrower}
    return figures_of(registration="translator-production", environment=production, release_digest=digest, **chosen)


def test_figures_are_exact(production: Environment, eu_1: Gateway, log: Log) -> None:
    for duration in range(100, 2_100, 100):
        log.add(1, at=NOW, duration_ms=duration, input_tokens=1_000, output_tokens=500)
    log.add(4, at=NOW, status="failed", error_code="model_failed", duration_ms=1, input_tokens=0, output_tokens=0)
    log.add(1, at=NOW, status="timed_out", duration_ms=60_000, input_tokens=1_000, output_tokens=500)
    read_log(eu_1, log.page)

    figures = _figures(production, pricing=pricing_of(["default"], {"default": EUR}))

    assert (figures.executions, figures.errors) == (25, 5)
    assert figures.error_rate == 0.2
    assert figures.p50_ms == 1_100
    assert figures.p95_ms == 2_000
    assert (figures.input_tokens, figures.output_tokens) == (21_000, 10_500)
    assert figures.tokens_per_execution == 1_260
    assert (figures.priced, figures.currency) == (True, "EUR")
    assert figures.cost_per_execution == Decimal("0.00504")


def test_a_caller_who_leaves_counts_neither_as_error_nor_as_execution(
    production: Environment, eu_1: Gateway, log: Log
) -> None:
    log.add(2, at=NOW, duration_ms=100)
    log.add(7, at=NOW, status="cancelled", duration_ms=90_000, input_tokens=999)
    read_log(eu_1, log.page)

    figures = _figures(production)

    assert (figures.executions, figures.errors, figures.cancelled) == (2, 0, 7)
    assert (figures.p50_ms, figures.p95_ms, figures.input_tokens) == (100, 100, 20)


def test_quick_failures_do_not_make_a_release_look_fast(production: Environment, eu_1: Gateway, log: Log) -> None:
    log.add(9, at=NOW, status="failed", error_code="model_failed", duration_ms=1)
    log.add(1, at=NOW, duration_ms=800)
    read_log(eu_1, log.page)

    assert _figures(production).p50_ms == 800


def test_nothing_ran(production: Environment) -> None:
    figures = _figures(production, pricing=pricing_of(["default"], {"default": EUR}))

    assert figures.executions == 0
    assert (figures.error_rate, figures.p50_ms, figures.p95_ms) == (None, None, None)
    assert (figures.cost_per_execution, figures.tokens_per_execution) == (None, None)


def test_only_what_was_asked_for_counts(production: Environment, eu_1: Gateway, log: Log) -> None:
    log.add(1, at=NOW)
    log.add(2, at=NOW, release_digest=OTHER_RELEASE)
    log.add(4, at=NOW, registration="support-bot-production")
    log.add(8, at=NOW - timedelta(minutes=30))
    log.add(16, at=NOW - timedelta(hours=2))
    read_log(eu_1, log.page)
    eu_2 = add_gateway(production, "eu-2", 18_002)
    read_log(eu_2, Log(*log.records[:1]).page)
    read_log(add_gateway(Environment.objects.get(slug="staging"), "st-1", 18_003), Log(*log.records).page)

    assert _figures(production).executions == 1 + 8 + 1
    assert _figures(production, OTHER_RELEASE).executions == 2
    assert _figures(production, gateways=[eu_2]).executions == 1
    assert _figures(production, gateways=[]).executions == 0
    assert _figures(production, until=NOW).executions == 8
    assert _figures(production, since=NOW).executions == 2
    assert _figures(production, since=NOW + timedelta(microseconds=1)).executions == 0


def test_figures_are_one_query_that_an_index_answers(production: Environment, eu_1: Gateway, log: Log) -> None:
    for _ in range(20):
        log.add(50, at=NOW)
        log.add(50, at=NOW, release_digest=OTHER_RELEASE, registration="support-bot-production")
    log.add(3, at=NOW, release_digest=OTHER_RELEASE)
    read_log(eu_1, log.page)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {Execution._meta.db_table}")

    with CaptureQueriesContext(connection) as queries:
        assert _figures(production, OTHER_RELEASE).executions == 3
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + queries[0]["sql"])
            plan = "\n".join(row[0] for row in cursor.fetchall())

    assert len(queries) == 2, "the figures, and the question how they are found"
    assert "execution_of_release" in plan, plan


def _release(*nodes: dict[str, Any]) -> bytes:
    return canonical_json({"workflow": {"nodes": list(nodes)}})


def test_a_release_tells_the_profiles_that_it_calls() -> None:
    body = _release(
        {"id": "a", "type": "KaizenAgent", "parameters": {"instructions": "Hi", "model_profile": "large"}},
        {"id": "b", "type": "KaizenAgent", "parameters": {"instructions": "Hi"}},
    )

    assert profiles_of(body) == {"large", "default"}


def test_the_dearest_profile_prices_a_release() -> None:
    prices = {"small": Price("EUR", Decimal(1), Decimal(9)), "large": Price("EUR", Decimal(3), Decimal(4))}

    pricing = pricing_of(["large", "small"], prices)

    assert pricing.price == Price("EUR", Decimal(3), Decimal(9))
    assert pricing.problem == ""
    assert pricing_of([], prices).price == FREE


def test_a_release_without_all_its_prices_has_none() -> None:
    prices = {"small": EUR, "large": USD}

    assert pricing_of(["small", "tiny", "other"], prices).price is None
    assert pricing_of(["small", "tiny", "other"], prices).problem == (
        "no price is set for the model profiles other, tiny"
    )
    assert pricing_of(["small", "large"], prices).problem == (
        "its model profiles are priced in different currencies: EUR, USD"
    )


RAN = ReleaseFigures(executions=10, input_tokens=1_000, output_tokens=1_000)
PRICES = {"default": EUR, "dollars": USD, "gratis": Price("EUR", Decimal(0), Decimal(0))}


@pytest.mark.parametrize(
    ("new", "old", "measure", "ratio", "reason"),
    [
        pytest.param(["default"], ["default"], "cost", 1.5, "", id="money"),
        pytest.param(["default"], ["dollars"], "", None, "priced in USD and in EUR", id="currencies"),
        pytest.param(["default"], ["gratis"], "", None, "the old release cost nothing", id="from nothing"),
        pytest.param(["gratis"], ["gratis"], "cost", 1.0, "", id="nothing both"),
        pytest.param(["gratis"], ["default"], "cost", 0.0, "", id="to nothing"),
        pytest.param([], ["dollars"], "cost", 0.0, "", id="without a model"),
        pytest.param(
            ["mystery"], ["default"], "", None, "the new release cannot be priced: no price", id="new unpriced"
        ),
        pytest.param(
            ["default"], ["mystery"], "", None, "the old release cannot be priced: no price", id="old unpriced"
        ),
        pytest.param(["mystery"], ["mystery"], "tokens", 1.5, "because no price is set", id="tokens"),
        pytest.param(["mystery"], ["other"], "", None, "call different models", id="different models"),
    ],
)
def test_costs_are_compared_only_where_that_is_fair(
    new: list[str], old: list[str], measure: str, ratio: float | None, reason: str
) -> None:
    dearer = replace(RAN, input_tokens=1_500, output_tokens=1_500, pricing=pricing_of(new, PRICES))

    compared = compare_costs(dearer, replace(RAN, pricing=pricing_of(old, PRICES)))

    assert (compared.measure, compared.ratio) == (measure, ratio)
    assert reason in compared.reason
    assert bool(compared.reason) == bool(reason)


def test_nothing_is_compared_with_nothing() -> None:
    assert compare_costs(RAN, ReleaseFigures()).reason == "the old release has no executions"
    assert compare_costs(ReleaseFigures(), RAN).reason == "the new release has no executions"
    assert compare_costs(RAN, RAN).ratio is None
    assert RAN.pricing is UNPRICED
