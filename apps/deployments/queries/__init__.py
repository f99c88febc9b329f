"""What is asked about deployments."""

from apps.deployments.queries.history import current_rollout, deployments_of, earlier_releases, events_about
from apps.deployments.queries.progress import (
    FAILING_AFTER,
    GATEWAY_STATES,
    STEP_STATES,
    GatewayInStep,
    RolloutProgress,
    StepProgress,
    preview,
    progress_of,
)
from apps.deployments.queries.statuses import (
    ADJECTIVES,
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
    "GATEWAY_STATES",
    "STEP_STATES",
    "Adjective",
    "DeploymentStatus",
    "GatewayInStep",
    "GatewayProgress",
    "RolloutProgress",
    "StepProgress",
    "current_rollout",
    "deployments_of",
    "earlier_releases",
    "events_about",
    "preview",
    "progress_of",
    "status_of",
    "statuses",
    "with_adjective",
]
