"""What a deployment's page shows of the present moment, re-rendered for each viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string

from apps.core.commands import may
from apps.core.errors import NotFound
from apps.core.live import fragment
from apps.core.ports import ports
from apps.deployments.models import Deployment
from apps.deployments.queries import current_rollout, status_of

if TYPE_CHECKING:
    from apps.core.actors import Actor


@fragment("deployment", listens_to=("deployment", "rollout", "placement", "gateway", "environment"))
def deployment_progress(actor: Actor, identifier: str) -> str:
    """The progress of one deployment, gateway by gateway.

    Raises:
        NotFound: it does not exist, or the actor may not see it.
    """
    visible = ports.visible(Deployment.objects.with_names(), actor, "deployment.view")
    try:
        deployment = visible.filter(pk=identifier).first()
    except (ValueError, ValidationError):
        deployment = None
    if deployment is None:
        raise NotFound("There is no such deployment, or you may not see it.")
    return render_to_string("deployments/live/deployment.html", progress_context(actor, deployment))


def progress_context(actor: Actor, deployment: Deployment) -> dict[str, Any]:
    """What the progress template needs; the page renders the same template at first."""
    return {
        "deployment": deployment,
        "status": status_of(deployment),
        "rollout": current_rollout(deployment),
        "may_cancel": may(actor, "deployment.cancel", deployment).allowed,
        "may_retry": may(actor, "deployment.retry", deployment).allowed,
        "may_release_hold": may(actor, "deployment.release-hold", deployment).allowed,
    }
