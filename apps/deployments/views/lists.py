"""Pages that list what runs where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.models import Agent
from apps.core import navigation
from apps.core.pages import EmptyState, ListPage
from apps.core.ports import ports
from apps.deployments.filters import DeploymentFilter, MatrixFilter
from apps.deployments.models import Deployment
from apps.deployments.queries import with_adjective
from apps.deployments.tables import AgentMatrix, DeploymentTable
from apps.deployments.views.base import TRAIL

if TYPE_CHECKING:
    from django.db.models import QuerySet


@navigation.entry("Deployments", icon="rocket", section="Run", order=10, url="deployments:matrix", shortcut="d")
class Matrix(ListPage):
    """Agents by environments: what runs where."""

    title = "Deployments"
    action = "deployment.view"
    queryset = Agent.objects.alive().with_latest_version().defer("instructions", "input_schema", "output_schema")
    table = AgentMatrix
    filters = MatrixFilter
    template_name = "deployments/matrix.html"
    empty = EmptyState(
        "Nothing to deploy yet",
        "Write an agent and publish a version of it; then it can be deployed to an environment's gateways.",
        icon="rocket",
    )

    def prepare(self) -> None:
        """The rows are agents, and what they show are deployments: the actor must be let see both."""
        super().prepare()
        self.rows = ports.visible(self.get_queryset(), self.actor, "agent.view")


class DeploymentList(ListPage):
    """Every deployment with its status and reason."""

    title = "All deployments"
    action = "deployment.view"
    table = DeploymentTable
    filters = DeploymentFilter
    trail = TRAIL
    empty = EmptyState(
        "Nothing was deployed yet", "Choose an agent and deploy one of its versions to an environment.", icon="rocket"
    )

    def get_queryset(self) -> QuerySet[Deployment]:
        return with_adjective(Deployment.objects.with_names()).order_by("agent__name", "environment__order")
