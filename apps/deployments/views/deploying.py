"""The page on which a version is deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.agents.models import Agent
from apps.agents.queries import readable
from apps.core.commands import may
from apps.core.errors import Denied, Invalid, NotFound
from apps.core.pages import CommandPage
from apps.core.ports import ports
from apps.deployments import commands
from apps.deployments.forms import DeployForm
from apps.deployments.models import Deployment
from apps.deployments.pictures import picture_of
from apps.deployments.queries import status_of
from apps.deployments.rollouts import effective_plan
from apps.deployments.views.base import choice
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest, HttpResponse

    from apps.agents.models import AgentVersion

_AGENTS = [("Agents", "agents:list")]


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
        return {"agent": self.object, "environments": self.environments, "initial": self.firstchoice()}

    def firstchoice(self) -> dict[str, Any]:
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
        version, environment = choice(form, "version"), choice(form, "environment")
        if version is None or environment is None:
            return {"environment": None}
        deployment = Deployment.objects.with_names().filter(agent=self.object, environment=environment).first()
        running = deployment.release.agent_version if deployment is not None and deployment.release else None
        plan = form.present_plan or effective_plan(deployment, environment.pk)
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
            "plan_errors": form.plan_errors,
            "picture": picture_of(plan, environment, first=running is None),
            "inherited": not form.chosen_way,
        }

    def execute(self, form: forms.Form | None) -> Any:
        assert isinstance(form, DeployForm)
        try:
            return commands.deploy(actor=self.actor, **form.cleaned_data)
        except Invalid as error:
            raise form.placed(error) from None
