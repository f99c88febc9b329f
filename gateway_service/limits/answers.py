"""How callers are told of their key's limits: headers in every answer, and refusals that say what would end them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway_service.limits.ledger import Finding, Wish
    from gateway_service.limits.quotas import Quota

_RETRY_S = 1
"""When to try again where nobody can know: another execution has to end."""

_CONCURRENT = "concurrent"
_BUDGET = "budget"


@dataclass(frozen=True)
class Standing:
    """How a key stands with one of its limits.

    Attributes:
        left: what may still be used.
        window_s: None for executions at once, which have no window.
        reset_s: seconds until more is left.
    """

    policy: str
    limit: int
    left: int
    reset_s: int
    window_s: int | None = None
    unit: str = ""


def standings_of(wish: Wish, finding: Finding) -> list[Standing]:
    """How the key stands after the ledger has answered."""
    standings = []
    if wish.concurrent is not None:
        left = max(0, wish.concurrent - finding.running - finding.granted)
        standings.append(Standing(_CONCURRENT, wish.concurrent, left, _RETRY_S, unit="concurrent-requests"))
    for quota, spent in zip(wish.quotas, finding.spent, strict=True):
        standings.append(_standing(quota, _with_share(quota, spent) if finding.granted else spent, wish.now))
    return standings


def headers_of(standings: Sequence[Standing]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit`` of draft-ietf-httpapi-ratelimit-headers-10."""
    return {
        "RateLimit-Policy": ", ".join(_policy_item(standing) for standing in standings),
        "RateLimit": ", ".join(f'"{each.policy}";r={each.left};t={each.reset_s}' for each in standings),
    }


def refusal(standings: Sequence[Standing], *, running: int) -> GatewayError:
    """What is answered when nothing is left of a limit.

    Args:
        standings: with all limits.
        running: executions of the key that run.
    """
    reached = next(standing for standing in standings if not standing.left)
    error = _budget_refusal(reached, running) if reached.policy == _BUDGET else _rate_refusal(reached)
    error.headers = headers_of(standings)
    return error


def _rate_refusal(reached: Standing) -> GatewayError:
    what = {
        _CONCURRENT: f"the key runs as many executions at once as it may ({reached.limit})",
        "requests": f"the key has made as many calls as it may in a minute ({reached.limit})",
        "tokens": f"the key has spent as many tokens as it may in a minute ({reached.limit})",
    }[reached.policy]
    return GatewayError(ErrorCode.LIMIT_REACHED, what, retry_after_s=reached.reset_s)


def _budget_refusal(reached: Standing, running: int) -> GatewayError:
    if running:
        # What they do not spend is given back, so this is not the end of the budget yet.
        return GatewayError(
            ErrorCode.LIMIT_REACHED,
            "what is left of the key's budget is set aside for its calls that run",
            retry_after_s=_RETRY_S,
        )
    return GatewayError(ErrorCode.BUDGET_SPENT, f"the key's budget is spent; it begins anew in {reached.reset_s} s")


def _standing(quota: Quota, spent: Mapping[int, int], now: float) -> Standing:
    return Standing(quota.policy, quota.limit, quota.left(spent), quota.reset_s(spent, now), quota.window_s, quota.unit)


def _with_share(quota: Quota, spent: Mapping[int, int]) -> dict[int, int]:
    return {**spent, quota.slot: spent.get(quota.slot, 0) + quota.share(spent)}


def _policy_item(standing: Standing) -> str:
    unit = f';qu="{standing.unit}"' if standing.unit else ""
    window = "" if standing.window_s is None else f";w={standing.window_s}"
    return f'"{standing.policy}";q={standing.limit}{unit}{window}'
