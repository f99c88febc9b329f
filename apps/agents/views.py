"""Pages of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponseRedirect
from django.urls import reverse

from apps.agents import commands
from apps.agents.filters import AgentFilter
from apps.agents.forms import (
    CompareForm,
    DuplicateForm,
    EditAgentForm,
    HandOverForm,
    NewAgentForm,
    PublishForm,
    RestoreVersionForm,
)
from apps.agents.models import Agent, AgentVersion
from apps.agents.queries import DRAFT, readable, side, unbound_placeholders
from apps.agents.tables import (
    COMPARE,
    CREATE,
    OF_DELETED,
    ON_PAGE,
    RESTORE_VERSION,
    AgentTable,
    HistoryTable,
    VersionTable,
)
from apps.audit.queries import events_of
from apps.core import navigation
from apps.core.errors import Conflict
from apps.core.pages import CommandPage, ConfirmPage, DetailPage, EmptyState, ListPage, PostPage, Tab
from apps.core.pages.base import Crumb, ObjectPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django import forms
    from django.http import HttpRequest, HttpResponse

    from apps.core.errors import GatewayUnavailable, Invalid, QuotaExceeded

_TRAIL = [("Agents", "agents:list")]


@navigation.entry("Agents", icon="robot", section="Build", order=10, url="agents:list", shortcut="a")
class AgentList(ListPage):
    """Every agent, with its state and newest version."""

    title = "Agents"
    action = "agent.view"
    queryset = Agent.objects.with_latest_version().defer("instructions", "input_schema", "output_schema")
    table = AgentTable
    filters = AgentFilter
    actions = [CREATE]
    empty = EmptyState(
        "No agents yet",
        "An agent is instructions, a model and limits. Write your first one, publish it, and deploy it to a gateway.",
        icon="robot",
        action=CREATE,
    )


def _overview(page: AgentDetail) -> Mapping[str, Any]:
    definition = page.object.definition
    return {"definition": definition, "placeholders": unbound_placeholders(definition)}


def _versions(page: AgentDetail) -> Mapping[str, Any]:
    versions = page.object.versions.select_related("agent").defer("content")
    return {"table": page.tabulate(VersionTable, versions)}


def _compare(page: AgentDetail) -> Mapping[str, Any]:
    """Two states of the agent side by side; by default the newest version and the draft."""
    agent: Agent = page.object
    if agent.latest_number is None:
        return {"form": None}
    numbers = agent.versions.order_by("-number").values_list("number", flat=True)
    choices = [(DRAFT, "Draft"), *((str(number), f"Version {number}") for number in numbers)]
    query = page.request.GET
    chosen = {
        "tab": "compare",
        "from": query.get("from") or str(agent.latest_number),
        "to": query.get("to") or DRAFT,
    }
    old, new = side(agent, chosen["from"]), side(agent, chosen["to"])
    return {
        "form": CompareForm(initial=chosen, choices=choices),
        "old": old,
        "new": new,
        "before": readable(old.definition),
        "after": readable(new.definition),
    }


def _history(page: AgentDetail) -> Mapping[str, Any]:
    return {"table": page.tabulate(HistoryTable, events_of("agent", str(page.object.pk)))}


class AgentDetail(DetailPage):
    """One agent: its draft, its versions, what differs between them, and what happened to it."""

    action = "agent.view"
    queryset = Agent.objects.with_latest_version().select_related("owner")
    trail = _TRAIL
    panels = "agent"
    tabs = [
        Tab("overview", "Overview", template="agents/tabs/overview.html", context=_overview),
        Tab(
            "versions",
            "Versions",
            template="agents/tabs/versions.html",
            context=_versions,
            count=lambda agent: agent.latest_number or 0,
        ),
        Tab("compare", "Compare", template="agents/tabs/compare.html", context=_compare),
        Tab("history", "History", template="agents/tabs/history.html", context=_history, action="event.view"),
    ]

    def status(self) -> tuple[str, str] | None:
        return self.object.state, self.object.state_reason

    def context(self) -> dict[str, Any]:
        actions = ON_PAGE if self.object.deleted_at is None else OF_DELETED
        return {**super().context(), "actions": actions}


class AgentCreate(CommandPage):
    """A new agent."""

    command = commands.create
    form_class = NewAgentForm
    title = "New agent"
    intro = "This makes a draft. Nothing runs until you publish a version and deploy it."
    submit = "Create agent"
    success = "{result} is a draft now. Publish it when it is ready."
    trail = _TRAIL

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        assert isinstance(form, NewAgentForm)
        return {"slug": form.cleaned_data["slug"], "definition": form.definition()}


class AgentEdit(CommandPage):
    """The draft of an agent."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.edit
    form_class = EditAgentForm
    title = "Edit {object}"
    intro = "You change the draft. What runs stays as it is until a new version is published and deployed."
    submit = "Save draft"
    success = "Saved the draft of {result}."
    trail = _TRAIL
    template_name = "agents/edit.html"

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        assert isinstance(form, EditAgentForm)
        return {"revision": form.cleaned_data["revision"], "definition": form.definition()}

    def refused(
        self, form: forms.Form | None, error: Invalid | Conflict | QuotaExceeded | GatewayUnavailable
    ) -> HttpResponse:
        """When somebody else saved meanwhile, nothing typed is lost: show what differs, and let it be saved again."""
        assert isinstance(form, EditAgentForm)
        current = Agent.objects.alive().filter(pk=self.object.pk).first()
        if not isinstance(error, Conflict) or current is None:
            return super().refused(form, error)
        mine = form.definition()
        typed = self.request.POST.copy()
        typed["revision"] = str(current.revision)
        form.data = typed
        form.add_error(
            None,
            f"{current.updated_by} saved the draft while you were editing. Below stands how yours differs from it. "
            "Saving again replaces it with yours.",
        )
        differences = {"before": readable(current.definition), "after": readable(mine)}
        return self.form_page(form, status=error.status, **differences)


class AgentPublish(CommandPage):
    """Freeze the draft, after a look at what changed."""

    action = "agent.view"
    queryset = Agent.objects.with_latest_version()
    command = commands.publish
    form_class = PublishForm
    title = "Publish {object}"
    submit = "Publish"
    icon = "tag"
    success = "Published version {result.number}."
    trail = _TRAIL
    narrow = False
    template_name = "agents/publish.html"

    def context(self) -> dict[str, Any]:
        agent: Agent = self.object
        latest = agent.versions.order_by("-number").first()
        return {
            **super().context(),
            "number": (agent.latest_number or 0) + 1,
            "latest": latest,
            "before": readable(latest.definition if latest else None),
            "after": readable(agent.definition),
        }


class AgentDuplicate(CommandPage):
    """Another agent with the same draft."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.duplicate
    form_class = DuplicateForm
    title = "Duplicate {object}"
    intro = "The copy gets the same draft and no versions."
    submit = "Duplicate"
    success = "{result} is a draft now."
    trail = _TRAIL

    def initial(self, shown: Any) -> dict[str, Any]:
        return {"name": f"{shown.name} (copy)"}


class AgentHandOver(CommandPage):
    """Another owner."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.hand_over
    form_class = HandOverForm
    title = "Hand over {object}"
    intro = "The owner answers for the agent. Who may change it stays as it is."
    submit = "Hand over"
    success = "{result.owner} owns {result} now."
    trail = _TRAIL

    def initial(self, shown: Any) -> dict[str, Any]:
        return {}


class AgentDelete(ConfirmPage):
    """Put an agent away."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.delete
    title = "Delete {object}"
    question = "Delete {object}?"
    consequence = "It leaves the list. Its versions and its history stay, and it can be restored."
    submit = "Delete"
    danger = True
    success = "{object} is deleted. It can be restored from the list of deleted agents."
    trail = _TRAIL

    def success_url(self, result: Any) -> str:
        return reverse("agents:list")


class AgentRestore(PostPage):
    """Bring a deleted agent back."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.restore
    success = "{result} is back."
    trail = _TRAIL


class VersionDetail(DetailPage):
    """One version, as it was published."""

    action = "agent-version.view"
    queryset = AgentVersion.objects.select_related("agent")
    trail = _TRAIL
    panels = "agent-version"
    actions = [COMPARE, RESTORE_VERSION]
    template_name = "agents/version.html"

    def crumbs(self) -> list[Crumb]:
        agent = self.object.agent
        return [*super().crumbs(), Crumb(agent.name, agent.get_absolute_url())]

    def context(self) -> dict[str, Any]:
        definition = self.object.definition
        return {**super().context(), "definition": definition, "placeholders": unbound_placeholders(definition)}


class VersionCompare(ObjectPage):
    """The address behind a version's “Compare” button: the agent's comparison, with this version chosen."""

    action = "agent-version.view"
    queryset = AgentVersion.objects.select_related("agent")

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        version: AgentVersion = self.object
        return HttpResponseRedirect(f"{version.agent.get_absolute_url()}?tab=compare&from={version.number}&to={DRAFT}")


class VersionRestore(CommandPage):
    """Take a version's definition as the draft."""

    action = "agent-version.view"
    queryset = AgentVersion.objects.select_related("agent")
    command = commands.restore_version
    form_class = RestoreVersionForm
    title = "Restore version {object.number} into the draft"
    intro = "The draft becomes what this version is; what stands in the draft now is lost. Nothing is published."
    submit = "Restore into draft"
    icon = "arrow-back-up"
    success = "The draft is version {object.number} again."
    trail = _TRAIL

    def decided_on(self) -> Any:
        return self.object.agent

    def initial(self, shown: Any) -> dict[str, Any]:
        return {"revision": shown.agent.revision}

    def execute(self, form: forms.Form | None) -> Any:
        assert form is not None
        version: AgentVersion = self.object
        revision = form.cleaned_data["revision"]
        return commands.restore_version(actor=self.actor, agent=version.agent, number=version.number, revision=revision)
