"""Pages of environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.audit.queries import events_of
from apps.audit.tables import EventTable
from apps.core import navigation
from apps.core.pages import CommandPage, DetailPage, EmptyState, ListPage, Tab
from apps.gateways import commands
from apps.gateways.forms import EnvironmentForm, NewEnvironmentForm
from apps.gateways.live import environment_context
from apps.gateways.models import Environment
from apps.gateways.queries import environments_with_counts
from apps.gateways.tables import EDIT_ENVIRONMENT, NEW_ENVIRONMENT, NEW_KEY_HERE, REGISTER, EnvironmentTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

_TRAIL = [("Environments", "gateways:environments")]


@navigation.entry("Environments", icon="stack-2", section="Run", order=10, url="gateways:environments", shortcut="e")
class EnvironmentList(ListPage):
    """The stages that agents run in."""

    title = "Environments"
    subtitle = "The stages that agents move through, each with its own gateways and keys."
    action = "environment.view"
    queryset = Environment.objects.all()
    table = EnvironmentTable
    actions = [NEW_ENVIRONMENT]
    empty = EmptyState(
        "No environments", "An environment is a stage that agents run in.", icon="stack-2", action=NEW_ENVIRONMENT
    )

    def get_queryset(self) -> QuerySet[Any]:
        return environments_with_counts(Environment.objects.all())


def _overview(page: EnvironmentDetail) -> Mapping[str, Any]:
    return {**environment_context(page.actor, page.object), "REGISTER": REGISTER}


def _history(page: EnvironmentDetail) -> Mapping[str, Any]:
    return {"table": page.tabulate(EventTable, events_of("environment", str(page.object.pk)))}


class EnvironmentDetail(DetailPage):
    """One environment with its gateways, and what higher floors know of it."""

    action = "environment.view"
    trail = _TRAIL
    panels = "environment"
    actions = [REGISTER, NEW_KEY_HERE, EDIT_ENVIRONMENT]
    tabs = [
        Tab("overview", "Overview", template="gateways/tabs/environment.html", context=_overview),
        Tab("history", "History", template="gateways/tabs/history.html", context=_history, action="event.view"),
    ]

    def get_queryset(self) -> QuerySet[Any]:
        return environments_with_counts(Environment.objects.all())


class EnvironmentCreate(CommandPage):
    """A new environment."""

    command = commands.create_environment
    form_class = NewEnvironmentForm
    title = "New environment"
    submit = "Create environment"
    success = "{result} is ready for gateways."
    trail = _TRAIL


class EnvironmentEdit(CommandPage):
    """Change an environment."""

    action = "environment.view"
    queryset = Environment.objects.all()
    command = commands.edit_environment
    form_class = EnvironmentForm
    title = "Edit {object}"
    trail = _TRAIL
