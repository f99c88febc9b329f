"""Pages of what runs where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.shortcuts import render

from apps.agents.models import Agent
from apps.agents.queries import readable
from apps.audit.tables import EventTable
from apps.core import navigation
from apps.core.commands import may
from apps.core.errors import Denied, NotFound
from apps.core.pages import CommandPage, ConfirmPage, DetailPage, EmptyState, ListPage, PostPage, Tab
from apps.core.pages.base import ObjectPage, require
from apps.core.ports import ports
from apps.deployments import commands
from apps.deployments.filters import DeploymentFilter, MatrixFilter
from apps.deployments.forms import DeployForm, NoteForm, RollbackForm
from apps.deployments.live import progress_context
from apps.deployments.models import Deployment, Release
from apps.deployments.queries import current_rollout, earlier_releases, events_about, status_of, with_adjective
from apps.deployments.snippets import example_inputs, snippets
from apps.deployments.tables import (
    DEPLOY_HERE,
    RELEASE_HOLD,
    ROLL_BACK,
    UNDEPLOY,
    AgentMatrix,
    DeploymentTable,
    RolloutTable,
)
from apps.gateways.models import Environment, Gateway
from apps.gateways.snippets import caller_address
from contract.release import Release as ReleaseDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django import forms
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from apps.agents.models import AgentVersion


_TRAIL = [("Deployments", "deployments:matrix")]
_AGENTS = [("Agents", "agents:list")]


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
    trail = _TRAIL
    empty = EmptyState(
        "Nothing was deployed yet", "Choose an agent and deploy one of its versions to an environment.", icon="rocket"
    )

    def get_queryset(self) -> QuerySet[Deployment]:
        return with_adjective(Deployment.objects.with_names()).order_by("agent__name", "environment__order")


def _overview(page: DeploymentDetail) -> Mapping[str, Any]:
    return {
        **progress_context(page.actor, page.object),
        "recent": page.object.rollouts.select_related("from_release__agent_version", "to_release__agent_version")[:5],
        "earlier": earlier_releases(page.object)[:5],
    }


def playground_context(deployment: Deployment) -> dict[str, Any]:
    """What the conversation says before its first message: what the agent wants to hear."""
    if deployment.release is None:
        return {}
    inputs = ReleaseDocument.parse(bytes(deployment.release.body)).interface.inputs
    others = sorted(set(inputs.get("properties", {})) - {"message"})
    if not others:
        return {"intro": "What you write goes through the gateway to the deployed agent."}
    return {
        "intro": f"This agent also takes {', '.join(others)}: write a JSON object such as "
        f"{json.dumps(example_inputs(inputs), ensure_ascii=False)}"
    }


def _calling(page: DeploymentDetail) -> Mapping[str, Any]:
    deployment: Deployment = page.object
    address = caller_address(deployment.environment).rstrip("/")
    if deployment.release is None or not address:
        return {"snippets": []}
    inputs = ReleaseDocument.parse(bytes(deployment.release.body)).interface.inputs
    return {
        "address": address,
        "schema": inputs,
        "snippets": snippets(deployment, address, example_inputs(inputs)),
    }


def _playground(page: DeploymentDetail) -> Mapping[str, Any]:
    return playground_context(page.object)


def _history(page: DeploymentDetail) -> Mapping[str, Any]:
    rollouts = page.object.rollouts.select_related("from_release__agent_version", "to_release__agent_version")
    return {
        "table": page.tabulate(RolloutTable, rollouts),
        "events": page.tabulate(EventTable, events_about(page.object), prefix="events-", per_page=10),
    }


class DeploymentDetail(DetailPage):
    """One agent in one environment: how it stands on each gateway, and what can be done about it."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    trail = _TRAIL
    panels = "deployment"
    tabs = [
        Tab("overview", "Overview", template="deployments/tabs/overview.html", context=_overview),
        Tab(
            "playground",
            "Playground",
            template="deployments/tabs/playground.html",
            context=_playground,
            action="playground.open",
        ),
        Tab("call", "Call it", template="deployments/tabs/call.html", context=_calling),
        Tab("history", "History", template="deployments/tabs/history.html", context=_history),
    ]

    def context(self) -> dict[str, Any]:
        hold = (RELEASE_HOLD,) if self.object.held else ()
        return {**super().context(), "actions": (DEPLOY_HERE, ROLL_BACK, *hold, UNDEPLOY)}


class DeploymentPlayground(ObjectPage):
    """The playground alone, for a page that loads it on demand."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names().wanted()

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        require(request, "playground.open", self.object)
        return render(
            request, "deployments/playground.html", {"object": self.object, **playground_context(self.object)}
        )


class AgentDeploy(CommandPage):
    """Choose a version and an environment, see what would change, deploy."""

    action = "agent.view"
    queryset = Agent.objects.alive().with_latest_version()
    command = commands.deploy
    form_class = DeployForm
    title = "Deploy {object}"
    submit = "Deploy"
    icon = "rocket"
    success = "{result.to_release} is on its way to {result.deployment.environment}."
    trail = _AGENTS
    narrow = False
    template_name = "deployments/deploy.html"

    def get_object(self) -> Agent:
        self.environment_slug = self.kwargs.pop("environment", "")
        agent: Agent = super().get_object()  # type: ignore[assignment]
        if agent.latest_number is None:
            raise NotFound("There is nothing to deploy yet: publish a version first.")
        return agent

    def prepare(self) -> None:
        """Whoever may deploy nowhere is told so at once; for a single environment, the preview says it."""
        self.object = self.get_object()
        self.environments = ports.visible(Environment.objects.order_by("order", "slug"), self.actor, "environment.view")
        answers = [may(self.actor, "environment.deploy", environment) for environment in self.environments]
        if answers and not any(answer.allowed for answer in answers):
            raise Denied(answers[0])

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.htmx and request.htmx.target == "preview":  # type: ignore[attr-defined]
            form = self.chosen()
            return render(request, "deployments/preview.html", {**self.preview(form), "form": form})
        return super().get(request, *args, **kwargs)

    def form_arguments(self) -> dict[str, Any]:
        return {"agent": self.object, "environments": self.environments, "initial": self.first_choice()}

    def first_choice(self) -> dict[str, Any]:
        """What the form starts with: the address's choice, else the newest version and the first environment."""
        query, newest = self.request.GET, self.object.latest_version
        environment = self.environments.filter(slug=self.environment_slug).first() or self.first_environment(newest)
        return {
            "environment": query.get("environment") or (environment.pk if environment else None),
            "version": query.get("version") or newest.pk,
        }

    def first_environment(self, version: AgentVersion) -> Environment | None:
        """The first environment that does not run the version and that the actor may deploy to."""
        running = Deployment.objects.filter(agent=self.object, release__agent_version=version).values("environment")
        environment: Environment
        for environment in self.environments.exclude(pk__in=running):
            if may(self.actor, "environment.deploy", environment).allowed:
                return environment
        first: Environment | None = self.environments.first()
        return first

    def chosen(self) -> DeployForm:
        """The form as it is filled in at the moment, for the preview."""
        return DeployForm(self.request.GET, agent=self.object, environments=self.environments)

    def form_page(self, form: forms.Form | None, *, status: int = 200, **extra: Any) -> HttpResponse:
        assert isinstance(form, DeployForm)
        return super().form_page(form, status=status, **self.preview(form), **extra)

    def preview(self, form: DeployForm) -> dict[str, Any]:
        """What deploying the form's choice would change."""
        version, environment = _choice(form, "version"), _choice(form, "environment")
        if version is None or environment is None:
            return {"environment": None}
        deployment = Deployment.objects.with_names().filter(agent=self.object, environment=environment).first()
        running = deployment.release.agent_version if deployment is not None and deployment.release else None
        return {
            "agent": self.object,
            "version": version,
            "environment": environment,
            "decision": may(self.actor, "environment.deploy", environment),
            "deployment": deployment,
            "standing": status_of(deployment) if deployment is not None else None,
            "running": running,
            "same": running == version,
            "before": readable(running.definition if running else None),
            "after": readable(version.definition),
            "gateways": list(Gateway.objects.serving().filter(environment=environment).order_by("name")),
        }

    def execute(self, form: forms.Form | None) -> Any:
        assert form is not None
        return commands.deploy(actor=self.actor, **form.cleaned_data)


def _choice(form: DeployForm | RollbackForm, name: str) -> Any:
    """The row that a field of the form names at the moment; None if it names none."""
    field = form.fields[name]
    try:
        return field.to_python(form[name].value())
    except ValidationError:
        return None


class DeploymentRollback(CommandPage):
    """Back to an earlier release, and held there."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.rollback
    form_class = RollbackForm
    title = "Roll back {object}"
    intro = (
        "Every gateway takes the earlier version again. The deployment is then held: nothing but a person's explicit "
        "act changes it until the hold is released."
    )
    submit = "Roll back"
    icon = "arrow-back-up"
    success = "{object} goes back to version {result.to_release.number}, and is held there."
    trail = _TRAIL
    narrow = False
    template_name = "deployments/rollback.html"

    def form_arguments(self) -> dict[str, Any]:
        earlier = earlier_releases(self.object)
        asked = self.request.GET.get("to", "")
        chosen = next((release for release in earlier if str(release.pk) == asked), earlier[0] if earlier else None)
        return {"deployment": self.object, "initial": {"to": chosen.pk if chosen else None}}

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.htmx and request.htmx.target == "preview":  # type: ignore[attr-defined]
            form = RollbackForm(request.GET, deployment=self.object)
            return render(request, "deployments/rollback_preview.html", self.preview(form))
        return super().get(request, *args, **kwargs)

    def form_page(self, form: forms.Form | None, *, status: int = 200, **extra: Any) -> HttpResponse:
        assert isinstance(form, RollbackForm)
        return super().form_page(form, status=status, **self.preview(form), **extra)

    def preview(self, form: RollbackForm) -> dict[str, Any]:
        """What differs between what runs and what would run."""
        target: Release | None = _choice(form, "to")
        running = self.object.release.agent_version if self.object.release else None
        return {
            "target": target,
            "running": running,
            "before": readable(running.definition if running else None),
            "after": readable(target.agent_version.definition if target else None),
        }


class DeploymentCancel(CommandPage):
    """Take a rollout back."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.cancel
    form_class = NoteForm
    title = "Cancel the rollout"
    submit = "Take it back"
    danger = True
    success = "The rollout is cancelled."
    trail = _TRAIL
    template_name = "deployments/cancel.html"
    partial_template_name = "deployments/cancel_sheet.html"

    def context(self) -> dict[str, Any]:
        return {**super().context(), "rollout": current_rollout(self.object)}


class DeploymentUndeploy(CommandPage):
    """Take an agent off the gateways of an environment."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.undeploy
    form_class = NoteForm
    title = "Undeploy {object}"
    intro = "Every gateway of the environment stops offering it. Callers get “404 not found” from then on."
    submit = "Undeploy"
    danger = True
    success = "{object} is being taken away."
    trail = _TRAIL


class DeploymentReleaseHold(ConfirmPage):
    """Let automation change a deployment again."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.release_hold
    title = "Release the hold on {object}"
    question = "Release the hold on {object}?"
    consequence = "It was {object.hold_reason}. Afterwards it can be changed as before; what runs stays as it is."
    submit = "Release hold"
    success = "{object} is no longer held."
    trail = _TRAIL


class DeploymentRetry(PostPage):
    """Try again now."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.retry
    success = "Trying again now."
    trail = _TRAIL
