"""Changes of what runs where."""

from apps.deployments.commands.deployments import cancel, deploy, release_hold, retry, rollback, undeploy
from apps.deployments.commands.playgrounds import close_playground, open_playground
from apps.deployments.commands.rollouts import approve, force, pause, resume, set_plan, set_rollout_policy
from apps.deployments.commands.stops import lift_stop, retry_stop, stop_agent, stop_author, stop_release

__all__ = [
    "approve",
    "cancel",
    "close_playground",
    "deploy",
    "force",
    "lift_stop",
    "open_playground",
    "pause",
    "release_hold",
    "resume",
    "retry",
    "retry_stop",
    "rollback",
    "set_plan",
    "set_rollout_policy",
    "stop_agent",
    "stop_author",
    "stop_release",
    "undeploy",
]
