"""The page of one rollout, and what can be done about one that is under way."""

from __future__ import annotations

from typing import Any

from apps.core.pages import CommandPage, ConfirmPage, DetailPage
from apps.core.pages.base import Crumb
from apps.deployments import commands
from apps.deployments.forms import NoteForm, StepForm
from apps.deployments.live import rollout_context, rollouts_with_names
from apps.deployments.queries import current_rollout
from apps.deployments.views.base import TRAIL, OfDeployment


class RolloutDetail(DetailPage):
    """One change of a deployment, step by step, also when it is long over."""

    action = "rollout.view"
    queryset = rollouts_with_names()
    trail = TRAIL
    template_name = "deployments/rollout.html"

    def get_title(self) -> str:
        words = str(self.object.in_words)
        return words[:1].upper() + words[1:]

    def crumbs(self) -> list[Crumb]:
        above = super().crumbs()
        deployment = self.object.deployment
        return [*above[:1], Crumb(str(deployment), deployment.get_absolute_url()), *above[1:]]

    def context(self) -> dict[str, Any]:
        decided = self.object.steps.exclude(finished_at=None).order_by("index")
        return {**super().context(), **rollout_context(self.actor, self.object), "decisions": decided}


class StepPage(ConfirmPage):
    """A decision about the step that a person sees: the address names it, and the form hands it on."""

    form_class = StepForm

    def initial(self, shown: Any) -> dict[str, Any]:
        named = self.request.GET.get("step")
        rollout = current_rollout(shown) if named is None else None
        if rollout is None:
            return {"step": named}
        finished = rollout.steps.exclude(finished_at=None).count()
        return {"step": finished + 1}


class RolloutApprove(OfDeployment, StepPage):
    """Let a rollout go on after a step that waits for a person."""

    command = commands.approve
    title = "Approve"
    question = "Let the rollout of {object} go on?"
    consequence = "The next step begins at once. The log keeps who approved it."
    submit = "Approve"
    success = "Approved: the rollout goes on."


class RolloutForce(OfDeployment, StepPage):
    """Let a rollout go on without what it waits for."""

    command = commands.force
    title = "Go on now"
    question = "Let the rollout of {object} go on without waiting?"
    consequence = (
        "What is left of the present step is skipped: its time, its executions, and gateways that have not confirmed. "
        "Those still get what they should as soon as they answer. The log keeps who forced it and what was skipped."
    )
    submit = "Go on now"
    danger = True
    success = "The rollout goes on."


class RolloutPause(OfDeployment, CommandPage):
    """Let a rollout take no further step."""

    command = commands.pause
    form_class = NoteForm
    title = "Pause the rollout"
    intro = "Gateways keep what they have, callers stay where they are. Nothing goes on until somebody resumes it."
    submit = "Pause"
    success = "The rollout is paused."


class RolloutResume(OfDeployment, ConfirmPage):
    """Let a paused rollout go on."""

    command = commands.resume
    title = "Resume the rollout"
    question = "Resume the rollout of {object}?"
    consequence = "Its present step is judged by what happens from now on."
    submit = "Resume"
    success = "The rollout goes on."
