"""Forms of environments, gateways and caller keys."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from apps.core.errors import Invalid
from apps.core.forms import CodeTextarea, SecretInput
from apps.gateways.labels import labels_from_text
from apps.gateways.limits import amount_of
from apps.gateways.models import Environment
from apps.gateways.models.environments import DEFAULT_POLL_INTERVAL_S
from apps.gateways.models.gateways import NAME_MAX_LENGTH
from apps.gateways.models.keys import KEY_NAME_MAX_LENGTH
from contract.caller_keys import EVERYTHING, MICRO, RATE_LIMIT_MAX, TOKENS, BudgetWindow
from contract.canonical import MAX_SAFE_INTEGER
from contract.names import ENVIRONMENT_MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


_CURRENCY = re.compile(r"[A-Z]{3}")
_WINDOWS = tuple((window.value, f"each {window.value}") for window in BudgetWindow)


class LimitsForm(forms.Form):
    """What a key may use. Left empty, it may use any number."""

    requests_per_minute = forms.IntegerField(
        label="Calls a minute", required=False, min_value=1, max_value=RATE_LIMIT_MAX, help_text="In any 60 seconds."
    )
    tokens_per_minute = forms.IntegerField(
        label="Tokens a minute",
        required=False,
        min_value=1,
        max_value=MAX_SAFE_INTEGER,
        help_text="Read and written together.",
    )
    concurrent = forms.IntegerField(label="At once", required=False, min_value=1, max_value=RATE_LIMIT_MAX)
    budget_amount = forms.DecimalField(
        label="Budget", required=False, max_digits=15, decimal_places=6, help_text="Tokens, or money such as 12.50."
    )
    budget_unit = forms.CharField(
        label="Budget in",
        required=False,
        max_length=6,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": TOKENS}),
        help_text="“tokens”, or a currency such as EUR, in which the gateways' model profiles have prices.",
    )
    budget_window = forms.ChoiceField(
        label="Budget for",
        required=False,
        choices=_WINDOWS,
        initial=BudgetWindow.MONTH.value,
        help_text="UTC calendar.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a budget that is no number of tokens and no amount of money."""
        cleaned = super().clean() or {}
        amount, unit = cleaned.get("budget_amount"), _unit(cleaned)
        if unit != TOKENS and not _CURRENCY.fullmatch(unit):
            self.add_error("budget_unit", "Write tokens, or a currency of three letters such as EUR.")
        elif amount is not None and amount <= 0:
            self.add_error("budget_amount", "Write an amount above 0, or leave it empty for no budget.")
        elif amount is not None and unit == TOKENS and amount != int(amount):
            self.add_error("budget_amount", "Write a whole number of tokens.")
        return cleaned

    def chosen_limits(self) -> dict[str, Any]:
        """The limits that were written, as the contract has them."""
        names = ("requests_per_minute", "tokens_per_minute", "concurrent")
        limits = {name: self.cleaned_data[name] for name in names if self.cleaned_data[name] is not None}
        amount, unit = self.cleaned_data["budget_amount"], _unit(self.cleaned_data)
        if amount is not None:
            window = self.cleaned_data["budget_window"] or BudgetWindow.MONTH.value
            limits["budget"] = {
                "amount": int(amount if unit == TOKENS else amount * MICRO), "unit": unit, "window": window
            }  # fmt: skip
        return limits


def limits_as_fields(limits: Mapping[str, Any]) -> dict[str, Any]:
    """A key's limits as the form's initial values."""
    fields = {name: value for name, value in limits.items() if name != "budget"}
    if budget := limits.get("budget"):
        amount = amount_of(budget)
        fields |= {
            "budget_amount": f"{amount:f}".rstrip("0").rstrip(".") if amount % 1 else f"{amount:.0f}",
            "budget_unit": budget["unit"],
            "budget_window": budget["window"],
        }
    return fields


def _unit(cleaned: Mapping[str, Any]) -> str:
    unit = str(cleaned.get("budget_unit") or TOKENS).strip()
    return TOKENS if unit.lower() == TOKENS else unit.upper()


class KeyForm(LimitsForm, InEnvironmentForm):
    """A key for an application."""

    field_order = ("environment", "name", "scopes", "lifetime")

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
