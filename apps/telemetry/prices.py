"""What tokens cost: the price of each model profile, and which price stands for a whole release.

Gateways count tokens and know no prices. A gateway's log counts the tokens of an execution and not those of each of
its nodes, so a release that calls several profiles is priced by the dearest of them: a comparison then errs towards
caution.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from apps.agents.definitions import DEFAULT_PROFILE
from apps.agents.models import Agent
from apps.telemetry.models import ModelPrice
from contract.canonical import strict_loads
from contract.nodes import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """What tokens cost.

    Attributes:
        currency: three capital letters of ISO 4217; "" for what costs nothing in any currency.
        input_per_million, output_per_million: for a million tokens read and written.
    """

    currency: str
    input_per_million: Decimal
    output_per_million: Decimal

    def of(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The price of so many tokens."""
        return (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / _MILLION


FREE = Price("", Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the executions of a release are priced.

    Attributes:
        profiles: the model profiles that it calls.
        price: None if there is none; `problem` then says why.
        problem: a clause, such as “no price is set for the model profile large”.
    """

    profiles: frozenset[str] = frozenset()
    price: Price | None = None
    problem: str = "nothing is known of its model profiles"


UNPRICED = Pricing()


def present_prices() -> dict[str, Price]:
    """The organization's prices by model profile. One query."""
    return {
        row.profile: Price(row.currency, row.input_per_million, row.output_per_million)
        for row in ModelPrice.objects.all()
    }


def unpriced_profiles() -> list[str]:
    """The model profiles that agents name and that have no price."""
    named = Agent.objects.alive().exclude(model_profile__in=ModelPrice.objects.values("profile"))
    return list(named.order_by("model_profile").values_list("model_profile", flat=True).distinct())


def profiles_of(body: bytes) -> frozenset[str]:
    """The model profiles that a release calls; none if no node of it calls a model.

    Args:
        body: the canonical release document.
    """
    nodes = strict_loads(body)["workflow"]["nodes"]
    return frozenset(
        node.get("parameters", {}).get("model_profile", DEFAULT_PROFILE)
        for node in nodes
        if "model_profile" in CATALOGUE[node["type"]].parameters["properties"]
    )


def pricing_of(profiles: Collection[str], prices: Mapping[str, Price]) -> Pricing:
    """How a release that calls these profiles is priced: by the dearest for reading and the dearest for writing."""
    called = frozenset(profiles)
    if not called:
        return Pricing(called, FREE, "")
    missing = sorted(called - prices.keys())
    if missing:
        plural = "s" if len(missing) > 1 else ""
        return Pricing(called, None, f"no price is set for the model profile{plural} {', '.join(missing)}")
    found = [prices[profile] for profile in sorted(called)]
    currencies = sorted({price.currency for price in found})
    if len(currencies) > 1:
        return Pricing(called, None, f"its model profiles are priced in different currencies: {', '.join(currencies)}")
    dearest = Price(
        currencies[0],
        max(price.input_per_million for price in found),
        max(price.output_per_million for price in found),
    )
    return Pricing(called, dearest, "")
