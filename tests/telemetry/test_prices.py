"""Prices of model profiles, on pages and through the API."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from apps.audit.models import Event
from apps.telemetry.models import ModelPrice
from apps.telemetry.prices import Price, present_prices
from apps.telemetry.words import money_words
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.world import Api, Inhabited

PRICE = {"currency": "eur", "input_per_million": "0.50", "output_per_million": "1.50"}
BODY = {"profile": "default", **PRICE}


def test_a_price_is_set_and_set_again_and_removed(acme: Inhabited, api_for: Callable[[str], Api]) -> None:
    api = api_for("admin")

    made = api.post("/model-prices/", BODY)
    assert made.status_code == 200, made.content
    assert made.json()["currency"] == "EUR"
    assert present_prices() == {"default": Price("EUR", Decimal("0.5"), Decimal("1.5"))}

    api.post("/model-prices/", {**BODY, "output_per_million": "2"})
    assert api.get("/model-prices/default/").json()["output_per_million"] == "2.000000"
    assert Event.objects.filter(action="model-price.set").latest("sequence").detail["before"] == [
        "EUR", "0.500000", "1.500000",
    ]  # fmt: skip
    assert len(api.get("/model-prices/").json()["results"]) == 1

    assert api.delete("/model-prices/default/").status_code == 204
    assert not ModelPrice.objects.exists()
    assert api.delete("/model-prices/default/").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currency": "euro"}, "currency"),
        ({"currency": ""}, "currency"),
        ({"input_per_million": "-1"}, "input_per_million"),
        ({"input_per_million": "NaN"}, "input_per_million"),
        ({"output_per_million": "10000001"}, "output_per_million"),
        ({"output_per_million": "0.0000001"}, "output_per_million"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=str,
)
def test_an_impossible_price_is_refused_at_its_field(
    acme: Inhabited, api_for: Callable[[str], Api], change: dict[str, object], field: str
) -> None:
    answer = api_for("owner").post("/model-prices/", {**BODY, **change})

    assert answer.status_code == 422, answer.content
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert not ModelPrice.objects.exists()


def test_an_impossible_profile_is_refused(acme: Inhabited, api_for: Callable[[str], Api]) -> None:
    for profile in ("", "-x", "a--b", "a" * 49):
        assert api_for("owner").post("/model-prices/", {**BODY, "profile": profile}).status_code == 422


def test_who_only_reads_sees_prices_and_sets_none(acme: Inhabited, api_for: Callable[[str], Api]) -> None:
    api_for("owner").post("/model-prices/", BODY)

    for role in ("viewer", "builder", "approver"):
        assert api_for(role).get("/model-prices/").json()["results"][0]["profile"] == "default"
        assert api_for(role).post("/model-prices/", BODY).status_code == 403
        assert api_for(role).delete("/model-prices/default/").status_code == 403
    assert acme.client("viewer").get("/model-prices/new/set/").status_code == 403


def test_a_price_is_set_changed_and_removed_on_pages(acme: Inhabited, tmp_path: Path) -> None:
    Fleet(acme, tmp_path, "").write_agent("translator")
    client = acme.client("admin")
    assert "No prices yet" in client.get("/model-prices/").content.decode()
    assert "Agents name default, without a price so far." in client.get("/model-prices/new/set/").content.decode()

    answer = client.post("/model-prices/new/set/", BODY)
    assert (answer.status_code, answer["Location"]) == (302, "/model-prices/")
    page = re.sub(r"\s+", " ", client.get("/model-prices/").content.decode())
    assert "EUR 0.50" in page
    assert "EUR 1.50" in page
    assert "Agents name" not in client.get("/model-prices/new/set/").content.decode()

    client.post("/model-prices/default/change/", {**PRICE, "currency": "usd"})
    assert ModelPrice.objects.get().currency == "USD"
    assert client.post("/model-prices/default/change/", {**PRICE, "currency": "dollar"}).status_code == 422

    client.post("/model-prices/default/remove/")
    assert not ModelPrice.objects.exists()


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (Decimal("1234.5"), "EUR 1,234.50"),
        (Decimal("0.5"), "EUR 0.50"),
        (Decimal("0.00421"), "EUR 0.0042"),
        (Decimal("0.0000099"), "EUR 0.0000099"),
        (Decimal(0), "EUR 0"),
        (None, "–"),  # noqa: RUF001
    ],
    ids=str,
)
def test_money_is_as_long_as_it_needs_to_be(amount: Decimal | None, words: str) -> None:
    assert money_words(amount, "EUR") == words
