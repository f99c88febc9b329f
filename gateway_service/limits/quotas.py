"""The limits of a key as quotas: what each counts, in which window, how much is left, and how callers are told.

Nothing here counts; see `ledger.py` for who does.

Sliding windows are counted in slots of a second: what was spent up to 61 seconds ago still counts, so that no 60
seconds ever see more than the limit. Budgets are counted in calendar windows, whose end people can foresee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from contract.caller_keys import TOKENS, BudgetWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.caller_keys import Budget, KeyLimits

MINUTE_S = 60


@dataclass(frozen=True)
class Demand:
    """What an execution is expected to spend.

    Attributes:
        tokens: read and written together.
        money: in millionths of the budget's currency; 0 where there is no budget of money.
    """

    tokens: int
    money: int = 0


@dataclass(frozen=True)
class Quota:
    """One countable limit at one moment.

    Attributes:
        policy: its name in headers.
        meter: what its counts are kept under, beside the key.
        limit: the most that may be counted in a window.
        demand: what is asked for.
        first: the oldest slot that counts.
        slot: the slot of this moment, in which a demand is counted.
        window_s: seconds that the window lasts.
        resets_at: when a calendar window ends; None for a sliding one.
        unit: as the `qu` of ``RateLimit-Policy``; "" for requests, which is its default.
    """

    policy: str
    meter: str
    limit: int
    demand: int
    first: int
    slot: int
    window_s: int
    resets_at: float | None = None
    unit: str = ""

    def left(self, spent: Mapping[int, int]) -> int:
        """What of the limit is left; never negative, although what is spent may exceed an expectation."""
        return max(0, self.limit - sum(spent.values()))

    def share(self, spent: Mapping[int, int]) -> int:
        """What is reserved of a demand: all of it, or what is left.

        So the last execution before a limit may go beyond it, by as much as it spends more than what was left. Else a
        limit below what an execution might spend at most would admit none at all.
        """
        return min(self.demand, self.left(spent))

    def reset_s(self, spent: Mapping[int, int], now: float) -> int:
        """Seconds until something is left again; in a sliding window, until the oldest slot leaves it."""
        if self.resets_at is not None:
            return max(1, math.ceil(self.resets_at - now))
        excess = sum(spent.values()) - self.limit
        for slot in sorted(spent):
            excess -= spent[slot]
            if excess < 0:
                return max(1, math.ceil(slot + MINUTE_S + 1 - now))
        return MINUTE_S


def quotas_of(limits: KeyLimits, demand: Demand, now: float) -> tuple[Quota, ...]:
    """The countable limits of a key; executions at once are no quota, since they are given back."""
    slot = int(now)
    first = slot - MINUTE_S
    quotas = []
    if limits.requests_per_minute is not None:
        quotas.append(Quota("requests", "requests", limits.requests_per_minute, 1, first, slot, MINUTE_S))
    if limits.tokens_per_minute is not None:
        quotas.append(
            Quota("tokens", TOKENS, limits.tokens_per_minute, demand.tokens, first, slot, MINUTE_S, unit=TOKENS)
        )
    if limits.budget is not None:
        quotas.append(_budget_quota(limits.budget, demand, now))
    return tuple(quotas)


def _budget_quota(budget: Budget, demand: Demand, now: float) -> Quota:
    begins, ends = window_at(budget.window, now)
    counts_tokens = budget.unit == TOKENS
    return Quota(
        policy="budget",
        meter=f"budget/{budget.unit}/{budget.window}",
        limit=budget.amount,
        demand=demand.tokens if counts_tokens else demand.money,
        first=begins,
        slot=begins,
        window_s=ends - begins,
        resets_at=ends,
        unit=TOKENS if counts_tokens else f"micro-{budget.unit}",
    )


def window_at(window: BudgetWindow, now: float) -> tuple[int, int]:
    """Begin and end of the calendar window that a moment lies in, in seconds since 1970 UTC."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case BudgetWindow.HOUR:
            begin = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
            end = begin + timedelta(hours=1)
        case BudgetWindow.DAY:
            begin, end = day, day + timedelta(days=1)
        case BudgetWindow.WEEK:
            begin = day - timedelta(days=day.weekday())
            end = begin + timedelta(weeks=1)
        case BudgetWindow.MONTH:
            begin = day.replace(day=1)
            end = (begin + timedelta(days=31)).replace(day=1)
    return int(begin.timestamp()), int(end.timestamp())
