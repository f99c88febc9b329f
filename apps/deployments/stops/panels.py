"""How the pages of agents, versions, deployments and members speak of stops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.core.panels import page_button, panel
from apps.deployments.models import Deployment, Stop
from apps.deployments.stops.coverage import stops_of
from apps.deployments.stops.tables import STOP_AGENT, STOP_AUTHOR, STOP_HERE, STOP_RELEASE

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.agents.models import Agent

page_button(STOP_AGENT, on="agent")
page_button(STOP_HERE, on="deployment")
page_button(STOP_RELEASE, on="agent-version")
page_button(STOP_AUTHOR, on="member-row")


@panel(on="agent", title="Stopped", template="deployments/panels/stopped.html", tab="notices", action="stop.view")
def stops_of_agent(request: HttpRequest, agent: Agent) -> dict[str, Any] | None:
    """The stops that hold an agent."""
    stops = Stop.objects.live().filter(slugs__contains=[agent.slug]).select_related("environment")
    return {"stops": list(stops)} if stops else None


@panel(on="deployment", title="Stopped", template="deployments/panels/stopped.html", tab="notices", action="stop.view")
def stop_of_deployment(request: HttpRequest, deployment: Deployment) -> dict[str, Any] | None:
    """The stop that holds a deployment."""
    stop = stops_of([deployment]).get(deployment.pk)
    return {"stops": [stop]} if stop is not None else None
