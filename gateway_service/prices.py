"""What the tokens of a model profile cost, as the gateway's operator says. Budgets of money are reckoned with these."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway_service.models.messages import Answer, ChatRequest, Usage
    from gateway_service.models.openai_protocol import Emit

    Chat = Callable[[ChatRequest, Emit | None], Awaitable[Answer]]

PRICE_MEMBERS = ("input_price", "output_price", "currency")
_HIGHEST = Decimal(1_000_000)


class PriceError(ValueError):
    """A profile's price is no price. The message is for its operator, and completes the profile's name."""


@dataclass(frozen=True)
class Price:
    """What a million tokens cost, in units of a currency (ISO 4217)."""

    currency: str
    per_million_input: Decimal
    per_million_output: Decimal

    @classmethod
    def of_profile(cls, table: Mapping[str, str]) -> Price | None:
        """The price in a profile's table; None where it says none.

        Raises:
            PriceError: only a part of one is there, or it is no amount.
        """
        given = [member for member in PRICE_MEMBERS if member in table]
        if not given:
            return None
        missing = [member for member in PRICE_MEMBERS if member not in table]
        if missing:
            raise PriceError(f"has {given[0]!r}, but lacks {missing[0]!r}; a price needs {', '.join(PRICE_MEMBERS)}")
        currency = table["currency"]
        if len(currency) != 3 or not currency.isascii() or not currency.isalpha() or not currency.isupper():
            raise PriceError(f"has a currency that is not three capital letters, such as EUR: {currency!r}")
        return cls(currency, _amount(table, "input_price"), _amount(table, "output_price"))

    def micro(self, usage: Usage) -> int:
        """What tokens cost, in millionths of the currency's unit, rounded up."""
        # A price for a million tokens in units is the price of one token in millionths.
        cost = usage.input_tokens * self.per_million_input + usage.output_tokens * self.per_million_output
        return int(cost.to_integral_value(ROUND_CEILING))


def priced(chat: Chat, prices: Mapping[str, Price], costs: dict[str, int]) -> Chat:
    """Ask models through `chat`, and add up in `costs` what their answers cost, in millionths by currency."""
    if not prices:
        return chat

    async def ask(request: ChatRequest, emit: Emit | None) -> Answer:
        answer = await chat(request, emit)
        price = prices.get(answer.profile or request.profile)
        if price is not None:
            costs[price.currency] = costs.get(price.currency, 0) + price.micro(answer.usage)
        return answer

    return ask


def _amount(table: Mapping[str, str], member: str) -> Decimal:
    try:
        amount = Decimal(table[member])
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= _HIGHEST:
        raise PriceError(f'has an {member} that is no amount from 0 to {_HIGHEST:,}, such as "0.15": {table[member]!r}')
    return amount
