"""Pages about executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.agents.models import Agent
from apps.core import navigation
from apps.core.pages import DetailPage, EmptyState, ListPage, Page
from apps.core.ports import ports
from apps.gateways.models import CallerKey
from apps.telemetry.filters import ExecutionFilter
from apps.telemetry.live import activity_context
from apps.telemetry.models import Execution
from apps.telemetry.subjects import Subject
from apps.telemetry.tables import ExecutionTable
from apps.telemetry.words import duration_words

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


@navigation.entry("Executions", icon="activity", section="Run", order=40, url="telemetry:executions", shortcut="x")
class ExecutionList(ListPage):
    """Every execution that Studio still keeps."""

    title = "Executions"
    subtitle = "What gateways ran, fetched from their logs within seconds. Prompts and answers are not recorded."
    action = "execution.view"
    queryset = Execution.objects.with_key_name()
    table = ExecutionTable
    filters = ExecutionFilter
    empty = EmptyState(
        "No executions yet",
        "Deploy an agent and call it through a gateway: every call appears here within seconds.",
        icon="activity",
    )


class ExecutionDetail(DetailPage):
    """One execution."""

    action = "execution.view"
    queryset = Execution.objects.with_key_name().select_related("gateway", "environment")
    trail = [("Executions", "telemetry:executions")]
    panels = "execution"
    template_name = "telemetry/execution.html"

    def status(self) -> tuple[str, str]:
        return self.object.get_status_display(), self.object.reason

    def context(self) -> dict[str, Any]:
        return {
            **super().context(),
            "took": duration_words(self.object.duration_ms),
            "agent": self._shown(Agent.objects.filter(slug=self.object.agent_slug), "agent.view"),
            "key": self._shown(CallerKey.objects.filter(public_id=self.object.key_id), "caller-key.view"),
        }

    def _shown(self, queryset: QuerySet[Any], action: str) -> Any:
        """What the execution names, if it still exists and the actor may see it."""
        return ports.visible(queryset, self.actor, action).first()


class ActivityFragment(Page):
    """A chart over another window of time, for the page that shows it."""

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        subject = Subject.parse(self.kwargs["subject"])
        return render(request, "telemetry/activity_region.html", activity_context(self.actor, subject))
