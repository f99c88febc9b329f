"""Pages of what runs where, and of how changes get there."""

from apps.deployments.views.changes import (
    DeploymentCancel,
    DeploymentReleaseHold,
    DeploymentRetry,
    DeploymentRollback,
    DeploymentUndeploy,
)
from apps.deployments.views.deploying import AgentDeploy
from apps.deployments.views.detail import DeploymentDetail, DeploymentPlayground
from apps.deployments.views.lists import DeploymentList, Matrix
from apps.deployments.views.plans import DeploymentPlan, RolloutPolicyEdit
from apps.deployments.views.rollouts import RolloutApprove, RolloutDetail, RolloutForce, RolloutPause, RolloutResume

__all__ = [
    "AgentDeploy",
    "DeploymentCancel",
    "DeploymentDetail",
    "DeploymentList",
    "DeploymentPlan",
    "DeploymentPlayground",
    "DeploymentReleaseHold",
    "DeploymentRetry",
    "DeploymentRollback",
    "DeploymentUndeploy",
    "Matrix",
    "RolloutApprove",
    "RolloutDetail",
    "RolloutForce",
    "RolloutPause",
    "RolloutPolicyEdit",
    "RolloutResume",
]
