"""Changes of what runs where."""

from apps.deployments.commands.deployments import cancel, deploy, release_hold, retry, rollback, undeploy
from apps.deployments.commands.playgrounds import close_playground, open_playground

__all__ = [
    "cancel",
    "close_playground",
    "deploy",
    "open_playground",
    "release_hold",
    "retry",
    "rollback",
    "undeploy",
]
