"""The course of a rollout, derived again and again from rows.

Nothing here waits for a message: whoever notices that a placement changed, or just happens to look, calls `advance`.
Done twice, or late, or after a crash, it comes to the same.
"""

from apps.deployments.rollouts.advancing import advance, advance_all, joining_release, next_due, pause, under_way
from apps.deployments.rollouts.beginning import base_of, effective_plan, start
from apps.deployments.rollouts.fleets import unsettled

__all__ = [
    "advance",
    "advance_all",
    "base_of",
    "effective_plan",
    "joining_release",
    "next_due",
    "pause",
    "start",
    "under_way",
    "unsettled",
]
