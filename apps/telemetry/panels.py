"""What agents' and gateways' pages show of executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.core.panels import panel
from apps.core.requests import actor_of
from apps.telemetry.live import activity_context
from apps.telemetry.models import ExecutionCursor
from apps.telemetry.subjects import Subject
from apps.telemetry.windows import window_in

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.agents.models import Agent
    from apps.gateways.models import Gateway


@panel(on="agent", title="Executions", template="telemetry/panels/activity.html", order=40, action="execution.view")
def on_agent(request: HttpRequest, agent: Agent) -> dict[str, Any]:
    return activity_context(actor_of(request), Subject(window_in(request.GET), "agent", agent.slug))


@panel(on="gateway", title="Executions", template="telemetry/panels/activity.html", order=40, action="execution.view")
def on_gateway(request: HttpRequest, gateway: Gateway) -> dict[str, Any]:
    context = activity_context(actor_of(request), Subject(window_in(request.GET), "gateway", gateway.name))
    return {**context, "cursor": ExecutionCursor.objects.filter(gateway=gateway).first()}


@panel(
    on="deployment", title="Executions", template="telemetry/panels/activity.html", order=40, action="execution.view"
)
def on_deployment(request: HttpRequest, deployment: Any) -> dict[str, Any]:
    """Deployments live on a higher floor; of one, only the name of its registration is needed here."""
    return activity_context(actor_of(request), Subject(window_in(request.GET), "registration", deployment.registration))
