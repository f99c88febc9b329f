"""What is asked about deployments."""

from apps.deployments.queries.history import current_rollout, deployments_of, earlier_releases, events_about
from apps.deployments.queries.statuses import (
    ADJECTIVES,
    FAILING_AFTER,
    Adjective,
    DeploymentStatus,
    GatewayProgress,
    status_of,
    statuses,
    with_adjective,
)

__all__ = [
    "ADJECTIVES",
    "FAILING_AFTER",
    "Adjective",
    "DeploymentStatus",
    "GatewayProgress",
    "current_rollout",
    "deployments_of",
    "earlier_releases",
    "events_about",
    "status_of",
    "statuses",
    "with_adjective",
]
