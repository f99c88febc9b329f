"""Releases, the wish that one runs in an environment, and the changes of that wish.

What a gateway actually holds is no fact of this app: placements in `gateways` know it, and every status here is derived
from them at the moment of asking (`queries.py`).
"""

from apps.deployments.models.deployments import (
    LABEL_MAX_LENGTH,
    NOTE_MAX_LENGTH,
    Deployment,
    DeploymentQuerySet,
    RolloutPolicy,
)
from apps.deployments.models.playgrounds import Playground
from apps.deployments.models.releases import Release
from apps.deployments.models.rollouts import Rollout, RolloutStep
from apps.deployments.models.stops import Stop, StopQuerySet, StopReceipt

__all__ = [
    "LABEL_MAX_LENGTH",
    "NOTE_MAX_LENGTH",
    "Deployment",
    "DeploymentQuerySet",
    "Playground",
    "Release",
    "Rollout",
    "RolloutPolicy",
    "RolloutStep",
    "Stop",
    "StopQuerySet",
    "StopReceipt",
]
