"""Changes of prices. Executions are observed, not commanded."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from apps.agents.models import PROFILE_MAX_LENGTH
from apps.core.commands import command, note
from apps.core.errors import Invalid
from apps.telemetry.models import ModelPrice
from contract.names import PROFILE_PATTERN

if TYPE_CHECKING:
    from apps.core.actors import Actor

HIGHEST_PRICE = Decimal(10_000_000)
DECIMALS = 6
_PROFILE_RULE = "Name a model profile, such as “default”: lower-case letters, digits and single hyphens."


@command("model-price.set")
def set_price(
    *, actor: Actor, profile: str, currency: str, input_per_million: Decimal, output_per_million: Decimal
) -> ModelPrice:
    """Say what a million tokens of a model profile cost, in place of what was said before.

    Args:
        profile: need not be known yet: gateways' profiles are their own configuration.
        currency: three letters of ISO 4217.
        input_per_million, output_per_million: for tokens read and written; at most six decimals.

    Raises:
        Invalid: a value breaks its rule.
    """
    profile, currency = profile.strip(), currency.strip().upper()
    _check(profile, currency, {"input_per_million": input_per_million, "output_per_million": output_per_million})
    before = ModelPrice.objects.select_for_update().filter(profile=profile).first()
    if before is not None:
        note(before=[before.currency, str(before.input_per_million), str(before.output_per_million)])
    price, _ = ModelPrice.objects.update_or_create(
        profile=profile,
        defaults={
            "currency": currency,
            "input_per_million": input_per_million,
            "output_per_million": output_per_million,
        },
    )
    return price


@command("model-price.remove", on="price")
def remove_price(*, actor: Actor, price: ModelPrice) -> ModelPrice:
    """Forget a price: releases that call the profile are then compared by their tokens, or not at all."""
    price.delete()
    return price


def _check(profile: str, currency: str, prices: dict[str, Decimal]) -> None:
    fields: dict[str, list[str]] = {}
    if len(profile) > PROFILE_MAX_LENGTH or not re.fullmatch(PROFILE_PATTERN, profile):
        fields["profile"] = [f"{_PROFILE_RULE} At most {PROFILE_MAX_LENGTH} characters."]
    if not re.fullmatch("[A-Z]{3}", currency):
        fields["currency"] = ["Write the three letters of a currency, such as EUR or USD."]
    for name, price in prices.items():
        if not price.is_finite() or not 0 <= price <= HIGHEST_PRICE:
            fields[name] = [f"Write a price from 0 to {HIGHEST_PRICE:,}."]
        elif price != round(price, DECIMALS):
            fields[name] = [f"Write at most {DECIMALS} decimals."]
    if fields:
        raise Invalid(fields=fields)
