"""The table of stops, and the buttons that begin and end them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_tables2 as tables
from django.utils.html import format_html

from apps.core.pages import ActionButton
from apps.core.statuses import badge
from apps.core.tables import ActionsColumn, LinkColumn, Table, TimeColumn
from apps.deployments.models import Deployment, Stop
from apps.deployments.stops.queries import statuses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from apps.agents.models import AgentVersion


def _why_not_lift(stop: Stop) -> str | None:
    return None if stop.live else f"{stop.lifted_by} lifted it already"


def _release_exists(version: AgentVersion) -> str | None:
    return None if hasattr(version, "release") else "It was never deployed, so it runs nowhere"


def _here(deployment: Deployment) -> Mapping[str, object]:
    return {"slug": deployment.agent.slug, "environment": deployment.environment.slug}


NEW_STOP = ActionButton("Stop something", icon="hand-stop", url="deployments:new-stop", action="stop.agent")
STOP_AGENT = ActionButton(
    "Stop", icon="hand-stop", url="deployments:stop-agent", action="stop.agent", method="dialog", style="danger"
)
STOP_HERE = ActionButton(
    "Stop", icon="hand-stop", url="deployments:stop-agent-in", action="stop.agent", method="dialog", style="danger",
    args=_here,
)  # fmt: skip
STOP_RELEASE = ActionButton(
    "Stop this release", icon="hand-stop", url="deployments:stop-release", action="stop.release", method="dialog",
    style="danger", when=_release_exists,
)  # fmt: skip
STOP_AUTHOR = ActionButton(
    "Stop everything they own", icon="hand-stop", url="deployments:stop-author", action="stop.author",
    method="dialog", style="danger",
)  # fmt: skip
LIFT = ActionButton(
    "Lift the stop", icon="player-play", url="deployments:lift-stop", action="stop.lift", method="dialog",
    when=_why_not_lift,
)  # fmt: skip
RECEIPTS = ActionButton("Receipts", icon="download", url="deployments:stop-receipts", action="stop.view")


class StopTable(Table):
    """Stops with where they stand."""

    label = LinkColumn(verbose_name="What", detail="reason")
    environment = tables.Column(verbose_name="Where", empty_values=(), order_by=("environment__order",))
    status = tables.Column(empty_values=(), orderable=False, verbose_name="Status")
    created_at = TimeColumn(verbose_name="Stopped")
    lifted_at = TimeColumn(verbose_name="Lifted", never="-")
    menu = ActionsColumn([LIFT])

    class Meta(Table.Meta):
        model = Stop
        fields = ("label", "environment", "status", "created_at", "lifted_at")

    def before_render(self, request: HttpRequest) -> None:
        """Read the statuses of the rows that are on this page."""
        rows = self.paginated_rows if getattr(self, "page", None) else self.rows
        self.by_key = statuses(row.record for row in rows)

    def render_environment(self, record: Stop) -> str:
        return str(record.environment) if record.environment else "everywhere"

    def render_status(self, record: Stop) -> SafeString:
        status = self.by_key[record.pk]
        return badge(status.adjective, status.reason)

    def render_created_at(self, record: Stop, column: TimeColumn) -> SafeString:
        return format_html('{}<span class="cell-detail">{}</span>', column.render(record.created_at), record.started_by)
