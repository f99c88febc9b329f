"""Pages that take a deployment back, away, or out of its hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.agents.queries import readable
from apps.core.pages import CommandPage, ConfirmPage, PostPage
from apps.deployments import commands
from apps.deployments.forms import NoteForm, RollbackForm
from apps.deployments.queries import current_rollout, earlier_releases
from apps.deployments.views.base import OfDeployment, choice

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest, HttpResponse

    from apps.deployments.models import Release


class DeploymentRollback(OfDeployment, CommandPage):
    """Back to an earlier release, and held there."""

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
        target: Release | None = choice(form, "to")
        running = self.object.release.agent_version if self.object.release else None
        return {
            "target": target,
            "running": running,
            "before": readable(running.definition if running else None),
            "after": readable(target.agent_version.definition if target else None),
        }


class DeploymentCancel(OfDeployment, CommandPage):
    """Take a rollout back."""

    command = commands.cancel
    form_class = NoteForm
    title = "Cancel the rollout"
    submit = "Take it back"
    danger = True
    success = "The rollout is cancelled."
    template_name = "deployments/cancel.html"
    partial_template_name = "deployments/cancel_sheet.html"

    def context(self) -> dict[str, Any]:
        return {**super().context(), "rollout": current_rollout(self.object)}


class DeploymentUndeploy(OfDeployment, CommandPage):
    """Take an agent off the gateways of an environment."""

    command = commands.undeploy
    form_class = NoteForm
    title = "Undeploy {object}"
    intro = "Every gateway of the environment stops offering it. Callers get “404 not found” from then on."
    submit = "Undeploy"
    danger = True
    success = "{object} is being taken away."


class DeploymentReleaseHold(OfDeployment, ConfirmPage):
    """Let automation change a deployment again."""

    command = commands.release_hold
    title = "Release the hold on {object}"
    question = "Release the hold on {object}?"
    consequence = "It was {object.hold_reason}. Afterwards it can be changed as before; what runs stays as it is."
    submit = "Release hold"
    success = "{object} is no longer held."


class DeploymentRetry(OfDeployment, PostPage):
    """Try again now."""

    command = commands.retry
    success = "Trying again now."
