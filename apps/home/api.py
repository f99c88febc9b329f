"""API of the overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.requests import actor_of
from apps.home.queries import overview

if TYPE_CHECKING:
    from rest_framework.request import Request

    from apps.home.queries import Cell, Overview, Row


class RunningSerializer(serializers.Serializer[Any]):
    """What runs of an agent in one environment."""

    deployment = serializers.UUIDField()
    environment = serializers.CharField()
    registration = serializers.CharField()
    version = serializers.IntegerField(allow_null=True)
    status = serializers.CharField()
    reason = serializers.CharField()
    held = serializers.BooleanField()
    executions_24h = serializers.IntegerField()
    errors_24h = serializers.IntegerField()


class AgentRowSerializer(serializers.Serializer[Any]):
    """One agent and where it was deployed."""

    agent = serializers.CharField()
    name = serializers.CharField()
    deployments = RunningSerializer(many=True)


class ConcernSerializer(serializers.Serializer[Any]):
    """Something that is not as it should be, or not yet."""

    kind = serializers.ChoiceField(choices=["stop", "deployment", "gateway", "errors"])
    subject = serializers.CharField()
    status = serializers.CharField(source="adjective")
    reason = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True)


class GatewayHealthSerializer(serializers.Serializer[Any]):
    """How a gateway is."""

    name = serializers.CharField()
    environment = serializers.CharField(source="environment.slug")
    status = serializers.CharField()
    reason = serializers.CharField(source="status_reason")
    in_flight = serializers.IntegerField()
    max_concurrent = serializers.IntegerField()
    last_seen_at = serializers.DateTimeField(allow_null=True)


class OverviewSerializer(serializers.Serializer[Any]):
    """The start page in values. `more_agents` counts those that `agents` leaves out; /deployments has them all."""

    environments = serializers.ListField(child=serializers.CharField())
    agents = AgentRowSerializer(many=True)
    more_agents = serializers.IntegerField()
    concerns = ConcernSerializer(many=True)
    gateways = GatewayHealthSerializer(many=True)


class OverviewView(APIView):
    """What runs where, what needs somebody, and how the gateways are: the start page for programs."""

    @extend_schema(operation_id="overview", responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        """Read the overview of what one may see."""
        return Response(OverviewSerializer(_as_values(overview(actor_of(request._request)))).data)


def _as_values(shown: Overview) -> dict[str, Any]:
    return {
        "environments": [environment.slug for environment in shown.environments],
        "agents": [_row(row) for row in shown.rows],
        "more_agents": shown.more,
        "concerns": shown.concerns,
        "gateways": shown.gateways,
    }


def _row(row: Row) -> dict[str, Any]:
    running = [_running(cell) for cell in row.cells if cell.deployment is not None]
    return {"agent": row.agent.slug, "name": row.agent.name, "deployments": running}


def _running(cell: Cell) -> dict[str, Any]:
    deployment, status = cell.deployment, cell.status
    assert deployment is not None
    assert status is not None
    return {
        "deployment": deployment.pk,
        "environment": cell.environment.slug,
        "registration": deployment.registration,
        "version": deployment.release.number if deployment.release else None,
        "status": status.adjective,
        "reason": status.reason,
        "held": deployment.held,
        "executions_24h": cell.pulse.executions if cell.pulse else 0,
        "errors_24h": cell.pulse.errors if cell.pulse else 0,
    }
