"""Scenarios of the commands in `telemetry`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from apps.core.actors import Actor
from apps.telemetry import commands
from apps.telemetry.models import ModelPrice

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.world import Inhabited
    from tests.scenarios import Scenario


def _priced(actor: Actor) -> ModelPrice:
    return commands.set_price(
        actor=actor,
        profile="default",
        currency="EUR",
        input_per_million=Decimal("0.50"),
        output_per_million=Decimal("1.50"),
    )


def _set(world: Inhabited) -> Callable[[Actor], object]:
    return _priced


def _remove(world: Inhabited) -> Callable[[Actor], object]:
    price = _priced(Actor.system("scenario"))
    return lambda actor: commands.remove_price(actor=actor, price=price)


SCENARIOS: dict[str, Scenario] = {"model-price.set": _set, "model-price.remove": _remove}
