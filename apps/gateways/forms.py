"""Forms of environments, gateways and caller keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from apps.core.errors import Invalid
from apps.core.forms import CodeTextarea, SecretInput
from apps.gateways.labels import labels_from_text
from apps.gateways.models import Environment
from apps.gateways.models.environments import DEFAULT_POLL_INTERVAL_S
from apps.gateways.models.gateways import NAME_MAX_LENGTH
from apps.gateways.models.keys import KEY_NAME_MAX_LENGTH
from contract.caller_keys import EVERYTHING
from contract.names import ENVIRONMENT_MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

_PLAIN = {"autocapitalize": "off", "spellcheck": "false", "autocomplete": "off"}
_LIFETIMES = (("", "Never"), ("1", "In a day"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year"))


class EnvironmentForm(forms.Form):
    """What can be changed about an environment."""

    name = forms.CharField(max_length=60, help_text="What people call it.")
    order = forms.IntegerField(
        min_value=0, max_value=32_000, help_text="Environments are listed from the lowest number to the highest."
    )
    poll_interval_s = forms.IntegerField(
        label="Seconds between polls",
        min_value=1,
        max_value=3600,
        initial=DEFAULT_POLL_INTERVAL_S,
        help_text="How often each of its gateways is asked how it is.",
    )
    caller_url = forms.CharField(
        label="Address for callers",
        required=False,
        max_length=300,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "https://agents.example.com"}),
        help_text="Where applications reach its gateways, if they stand behind a load balancer.",
    )


class NewEnvironmentForm(EnvironmentForm):
    """A new environment, with the name that never changes."""

    slug = forms.CharField(
        max_length=ENVIRONMENT_MAX_LENGTH,
        widget=forms.TextInput(attrs=_PLAIN),
        help_text="Lower-case letters and digits. It ends every registration's name here and never changes.",
    )
    order = forms.IntegerField(
        required=False, min_value=0, max_value=32_000, help_text="Left empty, it comes last in lists."
    )
    field_order = ("slug", "name", "order", "poll_interval_s", "caller_url")


class InEnvironmentForm(forms.Form):
    """A form for something that belongs to an environment; offers those in which the actor may make it."""

    environment = forms.ModelChoiceField(
        queryset=Environment.objects.none(), to_field_name="slug", empty_label="Choose one"
    )

    def __init__(self, *args: Any, environments: QuerySet[Environment], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["environment"]
        assert isinstance(choice, forms.ModelChoiceField)
        choice.queryset = environments


_ADDRESS = "https://gateway-1.example.com:8443"


class LabelsField(forms.CharField):
    """Labels as people write them; cleaned, they are a dictionary."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            max_length=2_500,
            widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "region=eu, rack=7"}),
            help_text="What rollouts may choose it by: name=value, separated by commas.",
        )

    def clean(self, value: Any) -> dict[str, str]:
        try:
            return labels_from_text(super().clean(value))
        except Invalid as error:
            raise forms.ValidationError(error.fields["labels"]) from None


class RegisterForm(InEnvironmentForm):
    """A gateway that is running already."""

    name = forms.CharField(
        max_length=NAME_MAX_LENGTH,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "eu-1"}),
        help_text="Lower-case letters, digits and hyphens.",
    )
    address = forms.CharField(
        max_length=300,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": _ADDRESS}),
        help_text="Where Studio reaches it: scheme, host and port.",
    )
    deploy_token = forms.CharField(
        max_length=500,
        widget=SecretInput(),
        help_text="The GATEWAY_DEPLOY_TOKEN that it was started with. It is stored encrypted and shown never again.",
    )
    labels = LabelsField()


class GatewayForm(forms.Form):
    """What can be changed about a gateway."""

    address = forms.CharField(
        max_length=300,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": _ADDRESS}),
        help_text="Where Studio reaches it: scheme, host and port.",
    )
    deploy_token = forms.CharField(
        required=False, max_length=500, widget=SecretInput(), help_text="Left empty, the present one stays."
    )
    labels = LabelsField()


class KeyForm(InEnvironmentForm):
    """A key for an application."""

    name = forms.CharField(
        max_length=KEY_NAME_MAX_LENGTH, help_text="What will use it, such as “web shop”. It shows in logs."
    )
    scopes = forms.CharField(
        label="Registrations",
        required=False,
        widget=CodeTextarea(attrs={"rows": 3, "placeholder": "support-triage-production"}),
        help_text="The names that it may call, one a line. Left empty, it may call everything in its environment.",
    )
    lifetime = forms.ChoiceField(label="Expires", required=False, choices=_LIFETIMES)

    def chosen_scopes(self) -> Sequence[str]:
        """The names that were written; all if none were."""
        return self.cleaned_data["scopes"].replace(",", " ").split() or [EVERYTHING]

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None
