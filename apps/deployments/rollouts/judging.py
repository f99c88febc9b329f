"""What the executions of a rollout's two releases say, for its health gate and for people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from apps.deployments.strategies.gates import Verdict, judge
from apps.deployments.strategies.plans import Plan
from apps.telemetry.comparison import ReleaseFigures, figures_of
from apps.telemetry.prices import present_prices, pricing_of, profiles_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from apps.deployments.models import Release, Rollout, RolloutStep
    from apps.telemetry.prices import Price

# Where the old release ran too little during a step to be compared with, what it did before counts too.
BEFORE = timedelta(hours=1)
# A gate looks again no more often than this; gateways bring executions with their polls, seconds apart.
JUDGE_EVERY = timedelta(seconds=2)


def compare(
    rollout: Rollout, since: datetime, *, until: datetime | None = None, minimum: int = 1
) -> tuple[ReleaseFigures | None, ReleaseFigures | None]:
    """The figures of the old and the new release over a span; None where there is no such release.

    Args:
        until: None: until now.
        minimum: of the old release; with fewer, its hour before counts too.
    """
    prices = present_prices()
    old = _figures(rollout, rollout.from_release, since, until, prices)
    if old is not None and old.executions < minimum:
        old = _figures(rollout, rollout.from_release, since - BEFORE, until, prices)
    return old, _figures(rollout, rollout.to_release, since, until, prices)


def verdict_on(rollout: Rollout, step: RolloutStep) -> Verdict | None:
    """What the rollout's gate says of a step that was begun; None without a gate."""
    gate = Plan.from_json(rollout.plan).gate
    if gate is None or step.watched_since is None or rollout.to_release is None:
        return None
    old, new = compare(rollout, step.watched_since, minimum=gate.minimum_executions)
    return judge(gate, new=new or ReleaseFigures(), old=old if old is not None and old.executions else None)


def _figures(
    rollout: Rollout, release: Release | None, since: datetime, until: datetime | None, prices: Mapping[str, Price]
) -> ReleaseFigures | None:
    if release is None:
        return None
    return figures_of(
        registration=rollout.deployment.registration,
        environment=rollout.deployment.environment,
        release_digest=release.digest,
        since=since,
        until=until,
        pricing=pricing_of(profiles_of(bytes(release.body)), prices),
    )
