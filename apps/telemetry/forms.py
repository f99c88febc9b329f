"""Forms of prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from apps.agents.models import PROFILE_MAX_LENGTH
from apps.telemetry.commands import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = {"autocapitalize": "off", "spellcheck": "false", "autocomplete": "off"}


class PriceForm(forms.Form):
    """What a million tokens cost. The command says what is wrong with a value."""

    currency = forms.CharField(
        max_length=10,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "EUR"}),
        help_text="Three letters, such as EUR or USD. Costs are compared within one currency only.",
    )
    input_per_million = forms.DecimalField(
        label="A million tokens read", decimal_places=DECIMALS, help_text="What goes into the model: the prompt."
    )
    output_per_million = forms.DecimalField(
        label="A million tokens written", decimal_places=DECIMALS, help_text="What comes out of it: the answer."
    )


class NewPriceForm(PriceForm):
    """The price of any model profile.

    Args:
        unpriced: profiles that agents name and that have no price.
    """

    profile = forms.CharField(label="Model profile", max_length=PROFILE_MAX_LENGTH, widget=forms.TextInput(_PLAIN))
    field_order = ("profile", "currency", "input_per_million", "output_per_million")

    def __init__(self, *args: Any, unpriced: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = f" Agents name {', '.join(unpriced)}, without a price so far." if unpriced else ""
        self.fields["profile"].help_text = f"As agents name it.{known}"
        if unpriced:
            self.fields["profile"].initial = unpriced[0]
