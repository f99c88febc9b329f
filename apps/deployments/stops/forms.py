"""Forms of the pages that stop and lift."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.models import User
from apps.agents.models import Agent
from apps.deployments.models import NOTE_MAX_LENGTH
from apps.gateways.models import Environment


def _reason_field(help_text: str) -> forms.CharField:
    return forms.CharField(
        max_length=NOTE_MAX_LENGTH, widget=forms.Textarea({"rows": 2}), label="Reason", help_text=help_text
    )


class ReasonForm(forms.Form):
    """An act that has to say why."""

    reason = _reason_field("Why, for whoever asks later.")


class StopForm(forms.Form):
    """Where, and why."""

    environment = forms.ModelChoiceField(
        queryset=Environment.objects.order_by("order", "slug"), required=False, empty_label="Every environment"
    )
    reason = _reason_field("Why. It stands wherever the stop is felt.")


class NewStopForm(StopForm):
    """What to stop: an agent, or everything that a member owns."""

    agent = forms.ModelChoiceField(
        queryset=Agent.objects.alive().order_by("name"), required=False, empty_label="No single agent"
    )
    author = forms.ModelChoiceField(
        queryset=User.objects.filter(agents__isnull=False).distinct(),
        required=False,
        empty_label="Nobody",
        label="Everything of",
        help_text="Every agent that this member owns. A single release is stopped on its version's page.",
    )
    field_order = ["agent", "author", "environment", "reason"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if bool(cleaned.get("agent")) == bool(cleaned.get("author")):
            self.add_error("agent", "Choose either an agent or a member.")
        return cleaned
