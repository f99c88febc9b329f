"""What a stop's page shows of the present moment, re-rendered for each viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.template.loader import render_to_string

from apps.core.commands import may
from apps.core.errors import NotFound
from apps.core.live import fragment
from apps.core.ports import ports
from apps.deployments.models import Stop
from apps.deployments.stops.queries import in_seconds, status_of

if TYPE_CHECKING:
    from apps.core.actors import Actor


@fragment("stop", listens_to=("stop", "placement", "gateway", "environment"))
def render_stop(actor: Actor, identifier: str) -> str:
    """How far a stop has come, gateway by gateway.

    Raises:
        NotFound: it does not exist, or the actor may not see it.
    """
    try:
        stop = (
            ports.visible(Stop.objects.select_related("environment"), actor, "stop.view").filter(pk=identifier).first()
        )
    except (ValueError, ValidationError):
        stop = None
    if stop is None:
        raise NotFound("There is no such stop, or you may not see it.")
    return render_to_string("deployments/live/stop.html", stop_context(actor, stop))


def stop_context(actor: Actor, stop: Stop) -> dict[str, Any]:
    """What the template needs; the page renders the same one at first."""
    status = status_of(stop)
    slowest = max((each.arrived_ms for each in status.gateways if each.arrived_ms is not None), default=None)
    return {
        "stop": stop,
        "status": status,
        "signed": sum(each.receipt is not None for each in status.gateways),
        "slowest": in_seconds(slowest) if slowest is not None else "",
        "rows": [
            {
                "stand": each,
                "signed": in_seconds(each.signed_ms) if each.signed_ms is not None else "",
                "arrived": in_seconds(each.arrived_ms) if each.arrived_ms is not None else "",
            }
            for each in status.gateways
        ],
        "may_retry": bool(status.missing) and may(actor, "stop.retry", stop).allowed,
    }
