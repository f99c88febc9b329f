"""Pages on which people say beforehand how changes reach gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.core.errors import Invalid
from apps.core.pages import CommandPage
from apps.deployments import commands
from apps.deployments.forms import DeploymentPlanForm, PlanForm, as_initial
from apps.deployments.models import Deployment
from apps.deployments.pictures import picture_of
from apps.deployments.rollouts import effective_plan
from apps.deployments.strategies.plans import Plan
from apps.deployments.views.base import TRAIL
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest, HttpResponse


class PlanPage(CommandPage):
    """A plan's form, beside the picture of what it means for the gateways that are there now."""

    submit = "Save plan"
    narrow = False
    template_name = "deployments/plan/page.html"

    def environment(self) -> Environment:
        """The environment whose gateways are drawn."""
        raise NotImplementedError

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.htmx and request.htmx.target == "preview":  # type: ignore[attr-defined]
            assert self.form_class is not None
            return render(request, "deployments/plan/preview.html", self.preview(self.form_class(request.GET)))
        return super().get(request, *args, **kwargs)

    def form_page(self, form: forms.Form | None, *, status: int = 200, **extra: Any) -> HttpResponse:
        return super().form_page(form, status=status, **self.preview(form), **extra)

    def execute(self, form: forms.Form | None) -> Any:
        assert isinstance(form, PlanForm)
        try:
            return super().execute(form)
        except Invalid as error:
            raise form.placed(error) from None

    def preview(self, form: forms.Form | None) -> dict[str, Any]:
        """The picture of what the form says at the moment."""
        assert isinstance(form, PlanForm)
        environment = self.environment()
        plan = form.present_plan or effective_plan(None, environment.pk)
        return {
            "environment": environment,
            "plan_errors": form.plan_errors,
            "picture": picture_of(plan, environment),
            "inherited": not form.chosen_way,
        }


class RolloutPolicyEdit(PlanPage):
    """How changes reach the gateways of an environment."""

    action = "environment.view"
    queryset = Environment.objects.select_related("rollout_policy")
    command = commands.set_rollout_policy
    form_class = PlanForm
    title = "Rollout policy of {object}"
    intro = "How changes reach the gateways here, unless a deployment or a single deploy says otherwise."
    submit = "Save policy"
    success = "Changes in {object} now go this way. A rollout that is under way keeps its own plan."
    trail = [("Environments", "gateways:environments")]

    def environment(self) -> Environment:
        environment: Environment = self.object
        return environment

    def initial(self, shown: Any) -> dict[str, Any]:
        return as_initial(effective_plan(None, shown.pk))

    def success_url(self, result: Any) -> str:
        return str(self.object.get_absolute_url())


class DeploymentPlan(PlanPage):
    """How changes of one deployment reach the gateways."""

    action = "deployment.view"
    queryset = Deployment.objects.with_names()
    command = commands.set_plan
    form_class = DeploymentPlanForm
    title = "Rollout plan of {object}"
    intro = "How later changes of this deployment reach the gateways. A single deploy may still go another way."
    success = "Later changes of {object} go this way."
    trail = TRAIL

    def environment(self) -> Environment:
        environment: Environment = self.object.environment
        return environment

    def initial(self, shown: Any) -> dict[str, Any]:
        return as_initial(Plan.from_json(shown.plan) if shown.plan is not None else None)
