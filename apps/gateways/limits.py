"""Limits of a caller key: checked by the contract, written by people in a form, and said in words."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from apps.core.errors import Invalid
from contract.caller_keys import MICRO, TOKENS, KeyLimits
from contract.canonical import canonical_json
from contract.document import parse_json
from contract.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping


def checked_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as a key stores them: those that are set, and no others.

    Raises:
        Invalid: one of them breaks the contract.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    try:
        parsed = parse_json(KeyLimits, canonical_json(given))
    except ContractError as error:
        where = f"{error.path}: " if error.path else ""
        raise Invalid(fields={"limits": [f"{where}{error.reason}."]}) from None
    stored: dict[str, Any] = parsed.model_dump(mode="json", exclude_none=True)
    return stored


def limits_in_words(limits: Mapping[str, Any]) -> list[str]:
    """Each limit as a person would say it."""
    words = []
    if requests := limits.get("requests_per_minute"):
        words.append(f"{requests:,} calls a minute")
    if tokens := limits.get("tokens_per_minute"):
        words.append(f"{tokens:,} tokens a minute")
    if concurrent := limits.get("concurrent"):
        words.append(f"{concurrent:,} at once")
    if budget := limits.get("budget"):
        words.append(f"{_amount_in_words(budget)} {'an' if budget['window'] == 'hour' else 'a'} {budget['window']}")
    return words


def amount_of(budget: Mapping[str, Any]) -> Decimal:
    """A budget's amount as people write it: tokens, or units of its currency."""
    return Decimal(budget["amount"]) if budget["unit"] == TOKENS else Decimal(budget["amount"]) / MICRO


def _amount_in_words(budget: Mapping[str, Any]) -> str:
    amount = amount_of(budget)
    if budget["unit"] == TOKENS:
        return f"{amount:,} tokens"
    return f"{amount:,.2f} {budget['unit']}" if amount == round(amount, 2) else f"{amount:,f} {budget['unit']}"
