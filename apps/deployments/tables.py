"""Tables of what runs where, and the buttons for what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_tables2 as tables
from django.template.defaultfilters import capfirst
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from apps.agents.models import Agent
from apps.core.pages import ActionButton
from apps.core.statuses import badge
from apps.core.tables import LinkColumn, NumberColumn, Table, TimeColumn
from apps.deployments.models import Deployment, Rollout
from apps.deployments.queries import DeploymentStatus, deployments_of, statuses
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest


def _why_not_deploy(agent: Agent) -> str | None:
    if agent.deleted_at is not None:
        return "The agent is deleted"
    return None if agent.latest_number else "Publish a version first"


def _why_not_undeploy(deployment: Deployment) -> str | None:
    return None if deployment.release_id else "Nothing is deployed"


def _why_not_roll_back(deployment: Deployment) -> str | None:
    earlier = deployment.rollouts.exclude(to_release=None).exclude(to_release=deployment.release_id)
    return None if earlier.exists() else "No other release ran here"


# Who may deploy depends on the environment, which is chosen on the page; it says what is missing.
DEPLOY = ActionButton("Deploy", icon="rocket", url="deployments:deploy", style="primary", when=_why_not_deploy)
DEPLOY_HERE = ActionButton(
    "Deploy",
    icon="rocket",
    url="deployments:deploy-to",
    style="primary",
    args=lambda deployment: {"slug": deployment.agent.slug, "environment": deployment.environment.slug},
    when=lambda deployment: _why_not_deploy(deployment.agent),
)
ROLL_BACK = ActionButton(
    "Roll back", icon="arrow-back-up", url="deployments:rollback", action="deployment.rollback", when=_why_not_roll_back
)
UNDEPLOY = ActionButton(
    "Undeploy",
    icon="trash",
    url="deployments:undeploy",
    action="deployment.undeploy",
    method="dialog",
    style="quiet",
    when=_why_not_undeploy,
)
EDIT_POLICY = ActionButton(
    "Edit policy", icon="pencil", url="deployments:rollout-policy", action="environment.set-rollout-policy"
)


class CellColumn(tables.Column):
    """What runs of an agent in one environment."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(verbose_name=environment.name, accessor="pk", orderable=False, empty_values=())
        self.environment = environment

    def render(self, record: Agent, table: AgentMatrix) -> SafeString:
        deployment, status = table.cells.get((record.pk, self.environment.pk), (None, None))
        values = {"agent": record, "environment": self.environment, "deployment": deployment, "status": status}
        return mark_safe(render_to_string("deployments/cell.html", values))  # noqa: S308  a rendered template


class AgentMatrix(Table):
    """A row an agent, a column an environment."""

    name = LinkColumn(verbose_name="Agent", detail="slug")

    class Meta(Table.Meta):
        model = Agent
        fields = ("name",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        environments = Environment.objects.order_by("order", "slug")
        columns = [(environment.slug, CellColumn(environment)) for environment in environments]
        super().__init__(*args, extra_columns=columns, **kwargs)
        self.cells: dict[tuple[UUID, UUID], tuple[Deployment, DeploymentStatus]] = {}

    def before_render(self, request: HttpRequest) -> None:
        """Read the cells of the rows that are on this page, and of no others."""
        rows = self.paginated_rows if getattr(self, "page", None) else self.rows
        deployments = [each for found in deployments_of(row.record for row in rows).values() for each in found]
        by_key = statuses(deployments)
        self.cells = {(each.agent_id, each.environment_id): (each, by_key[each.pk]) for each in deployments}


class DeploymentTable(Table):
    """Deployments one by one, with their reasons."""

    registration = LinkColumn(verbose_name="Registration")
    environment = tables.Column(order_by=("environment__order",))
    version = NumberColumn(accessor="release__agent_version__number", verbose_name="Version")
    adjective = tables.Column(verbose_name="Status")
    held_since = TimeColumn(verbose_name="Held", never="-")
    updated_at = TimeColumn(verbose_name="Changed")

    class Meta(Table.Meta):
        model = Deployment
        fields = ("registration", "environment", "version", "adjective", "held_since", "updated_at")

    def before_render(self, request: HttpRequest) -> None:
        """Read the reasons of the rows that are on this page."""
        rows = self.paginated_rows if getattr(self, "page", None) else self.rows
        self.by_key = statuses(row.record for row in rows)

    def render_adjective(self, record: Deployment) -> SafeString:
        status = self.by_key[record.pk]
        return badge(status.adjective, status.reason)


class RolloutTable(Table):
    """The history of one deployment."""

    kind = tables.Column(verbose_name="Change")
    generation = tables.Column(verbose_name="Generation")
    started_by = tables.Column(verbose_name="By")
    created_at = TimeColumn(verbose_name="When")
    state = tables.Column(verbose_name="State")
    took = tables.Column(empty_values=(), orderable=False, verbose_name="Took")

    class Meta(Table.Meta):
        model = Rollout
        fields = ("kind", "generation", "started_by", "created_at", "state", "took")

    def render_kind(self, record: Rollout) -> SafeString:
        words = record.note or record.reason
        note = format_html('<span class="cell-detail short" title="{}">{}</span>', words, words) if words else ""
        address = reverse("deployments:rollout", args=(record.deployment_id, record.generation))
        return format_html('<a class="cell-main" href="{}">{}</a>{}', address, capfirst(record.in_words), note)

    def render_state(self, record: Rollout) -> SafeString:
        return badge(record.state)

    def render_took(self, record: Rollout) -> str:
        if record.finished_at is None:
            return "-"
        seconds = (record.finished_at - record.created_at).total_seconds()
        return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
