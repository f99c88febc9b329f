"""Pages of stops."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse

from apps.accounts.models import User
from apps.agents.models import Agent, AgentVersion
from apps.core import navigation
from apps.core.errors import Conflict, NotFound
from apps.core.pages import CommandPage, DetailPage, EmptyState, ListPage, PostPage
from apps.core.pages.base import ObjectPage
from apps.deployments import commands
from apps.deployments.models import Stop
from apps.deployments.stops.filters import StopFilter
from apps.deployments.stops.forms import NewStopForm, ReasonForm, StopForm
from apps.deployments.stops.live import stop_context
from apps.deployments.stops.queries import receipts_document
from apps.deployments.stops.tables import LIFT, NEW_STOP, RECEIPTS, StopTable
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from django import forms
    from django.db.models import Model
    from django.http import HttpRequest

_TRAIL = [("Stops", "deployments:stops")]
_STOPS = Stop.objects.select_related("agent", "release__agent_version__agent", "author", "environment")
_CONSEQUENCE = (
    "What runs of it is cancelled at once, and callers are refused, until somebody lifts the stop. It goes ahead of "
    "everything else to every gateway, and each answers with a signed receipt."
)


@navigation.entry("Stops", icon="hand-stop", section="Run", order=90, url="deployments:stops", shortcut="s")
class StopList(ListPage):
    """What must not run, and what was."""

    title = "Stops"
    action = "stop.view"
    queryset = _STOPS
    table = StopTable
    filters = StopFilter
    actions = [NEW_STOP]
    empty = EmptyState(
        "Nothing was ever stopped",
        "A stop ends an agent, a release or everything that somebody owns on every gateway within a moment, and holds "
        "until it is lifted.",
        icon="hand-stop",
        action=NEW_STOP,
    )


class StopDetail(DetailPage):
    """One stop: how fast each gateway obeyed, what it signed, and who never confirmed."""

    action = "stop.view"
    queryset = _STOPS
    trail = _TRAIL
    actions = [RECEIPTS, LIFT]
    template_name = "deployments/stop.html"

    def context(self) -> dict[str, Any]:
        return {**super().context(), **stop_context(self.actor, self.object)}


class StopReceipts(ObjectPage):
    """The signed receipts as a file, to be verified without Studio."""

    action = "stop.view"
    queryset = _STOPS

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        content = json.dumps(receipts_document(self.object), indent=2, ensure_ascii=False)
        answer = HttpResponse(content, content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="stop-{self.object.public_id}.json"'
        return answer


class StopLift(CommandPage):
    """End a stop."""

    action = "stop.view"
    queryset = _STOPS
    command = commands.lift_stop
    form_class = ReasonForm
    title = "Lift the stop"
    intro = "What it covers may run again, at once, from the release that is deployed on each gateway."
    submit = "Lift the stop"
    success = "{object.label} may run again."
    trail = _TRAIL

    def initial(self, shown: Any) -> dict[str, Any]:
        return {}


class StopRetry(PostPage):
    """Try again now."""

    action = "stop.view"
    queryset = _STOPS
    command = commands.retry_stop
    success = "Trying again now."
    trail = _TRAIL


class _BeginPage(CommandPage):
    """A page that stops something. Its success is the stop's own page, which counts the time."""

    form_class = StopForm
    intro = _CONSEQUENCE
    submit = "Stop now"
    icon = "hand-stop"
    danger = True
    success = "{result.label} is being stopped {result.where}."

    def initial(self, shown: Any) -> dict[str, Any]:
        return {}

    def success_url(self, result: Any) -> str:
        return str(result.get_absolute_url())


class AgentStop(_BeginPage):
    """Stop an agent, in an environment that the address names or in one that is chosen."""

    action = "agent.view"
    queryset = Agent.objects.all()
    command = commands.stop_agent
    title = "Stop {object}"
    trail = [("Agents", "agents:list")]

    def get_object(self) -> Model:
        self.environment_slug = self.kwargs.pop("environment", "")
        return super().get_object()

    def initial(self, shown: Any) -> dict[str, Any]:
        if not self.environment_slug:
            return {}
        environment = Environment.objects.filter(slug=self.environment_slug).first()
        if environment is None:
            raise NotFound("There is no such environment.")
        return {"environment": environment.pk}


class ReleaseStop(_BeginPage):
    """Stop the release of one version, and no other."""

    action = "agent-version.view"
    queryset = AgentVersion.objects.select_related("agent", "release")
    command = commands.stop_release
    title = "Stop the release of {object}"
    trail = [("Agents", "agents:list")]

    def decided_on(self) -> Any:
        return getattr(self.object, "release", None)

    def execute(self, form: forms.Form | None) -> Any:
        assert form is not None
        version: AgentVersion = self.object
        if not hasattr(version, "release"):
            raise Conflict(f"{version} was never deployed, so it runs nowhere.")
        return commands.stop_release(actor=self.actor, release=version.release, **form.cleaned_data)


class AuthorStop(_BeginPage):
    """Stop everything that a member owns."""

    action = "user.view"
    queryset = User.objects.all()
    command = commands.stop_author
    title = "Stop everything that {object} owns"
    trail = [("Members", "accounts:members")]


class NewStop(_BeginPage):
    """Choose what to stop."""

    command = commands.stop_agent
    form_class = NewStopForm
    title = "Stop something"
    trail = _TRAIL

    def decided_on(self) -> Any:
        return None

    def execute(self, form: forms.Form | None) -> Any:
        assert form is not None
        chosen = {name: form.cleaned_data[name] for name in ("environment", "reason")}
        if form.cleaned_data["author"]:
            return commands.stop_author(actor=self.actor, author=form.cleaned_data["author"], **chosen)
        return commands.stop_agent(actor=self.actor, agent=form.cleaned_data["agent"], **chosen)
