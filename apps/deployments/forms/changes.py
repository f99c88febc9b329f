"""Forms of the pages that change what runs where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from apps.agents.models import Agent, AgentVersion
from apps.core.forms import SwitchInput
from apps.deployments.forms.plans import PlanForm
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment, Release
from apps.deployments.queries import earlier_releases
from apps.gateways.models import Environment

if TYPE_CHECKING:
    from django.db.models import QuerySet


def _note_field() -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=NOTE_MAX_LENGTH,
        widget=forms.Textarea({"rows": 2}),
        label="Note",
        help_text="Why, for whoever reads the history.",
    )


class NoteForm(forms.Form):
    """A change that only needs to say why."""

    note = _note_field()


class StepForm(forms.Form):
    """A decision about one step of a rollout: the one that was on the page."""

    step = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)


class _VersionField(forms.ModelChoiceField[AgentVersion]):
    def label_from_instance(self, obj: Any) -> str:
        return f"Version {obj.number}" + (f" — {obj.note[:60]}" if obj.note else "")


class _ReleaseField(forms.ModelChoiceField[Release]):
    def label_from_instance(self, obj: Any) -> str:
        return f"Version {obj.number}"


class DeployForm(PlanForm):
    """Which version goes where, and how.

    The two switches are drawn only where they mean something: over a hold, and over what runs already.
    """

    version = _VersionField(queryset=AgentVersion.objects.none(), empty_label=None)
    environment = forms.ModelChoiceField(queryset=Environment.objects.none(), empty_label=None)
    note = _note_field()
    redeploy = forms.BooleanField(
        required=False,
        widget=SwitchInput,
        label="Send it again",
        help_text="This version runs there already. Every gateway takes it anew.",
    )
    release_hold = forms.BooleanField(
        required=False,
        widget=SwitchInput,
        label="Release the hold",
        help_text="A rollback holds what runs there. Deploying is only possible together with releasing it.",
    )

    inherits = "As usual there"

    def __init__(self, *args: Any, agent: Agent, environments: QuerySet[Environment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].queryset = agent.versions.select_related("agent").order_by("-number")  # type: ignore[attr-defined]
        self.fields["environment"].queryset = environments  # type: ignore[attr-defined]


class RollbackForm(forms.Form):
    """Which earlier release to go back to."""

    to = _ReleaseField(queryset=Release.objects.none(), empty_label=None, label="Back to")
    note = _note_field()

    def __init__(self, *args: Any, deployment: Deployment, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        earlier = [release.pk for release in earlier_releases(deployment)]
        self.fields["to"].queryset = (  # type: ignore[attr-defined]
            Release.objects.filter(pk__in=earlier)
            .select_related("agent_version__agent")
            .order_by("-agent_version__number")
        )
