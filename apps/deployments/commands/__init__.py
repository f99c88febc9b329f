"""Changes of what runs where."""

from apps.deployments.commands.deployments import cancel, deploy, release_hold, retry, rollback, undeploy
from apps.deployments.commands.playgrounds import close_playground, open_playground
from apps.deployments.commands.rollouts import approve, force, pause, resume, set_plan, set_rollout_policy

__all__ = [
    "approve",
    "cancel",
    "close_playground",
    "deploy",
    "force",
    "open_playground",
    "pause",
    "release_hold",
    "resume",
    "retry",
    "rollback",
    "set_plan",
    "set_rollout_policy",
    "undeploy",
]
