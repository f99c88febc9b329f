"""Pages about executions, and about what tokens cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.shortcuts import render

from apps.agents.models import Agent
from apps.core import navigation
from apps.core.pages import CommandPage, ConfirmPage, DetailPage, EmptyState, ListPage, Page
from apps.core.ports import ports
from apps.gateways.models import CallerKey
from apps.telemetry import commands
from apps.telemetry.filters import ExecutionFilter
from apps.telemetry.forms import NewPriceForm, PriceForm
from apps.telemetry.live import activity_context
from apps.telemetry.models import Execution, ModelPrice
from apps.telemetry.prices import unpriced_profiles
from apps.telemetry.subjects import Subject
from apps.telemetry.tables import SET_PRICE, ExecutionTable, PriceTable
from apps.telemetry.words import duration_words

if TYPE_CHECKING:
    from django import forms
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse


@navigation.entry("Executions", icon="activity", section="Run", order=40, url="telemetry:executions", shortcut="x")
class ExecutionList(ListPage):
    """Every execution that Studio still keeps."""

    title = "Executions"
    subtitle = "What gateways ran, fetched from their logs within seconds. Prompts and answers are not recorded."
    action = "execution.view"
    queryset = Execution.objects.with_key_name()
    table = ExecutionTable
    filters = ExecutionFilter
    empty = EmptyState(
        "No executions yet",
        "Deploy an agent and call it through a gateway: every call appears here within seconds.",
        icon="activity",
    )


class ExecutionDetail(DetailPage):
    """One execution."""

    action = "execution.view"
    queryset = Execution.objects.with_key_name().select_related("gateway", "environment")
    trail = [("Executions", "telemetry:executions")]
    panels = "execution"
    template_name = "telemetry/execution.html"

    def status(self) -> tuple[str, str]:
        return self.object.get_status_display(), self.object.reason

    def context(self) -> dict[str, Any]:
        return {
            **super().context(),
            "took": duration_words(self.object.duration_ms),
            "agent": self._shown(Agent.objects.filter(slug=self.object.agent_slug), "agent.view"),
            "key": self._shown(CallerKey.objects.filter(public_id=self.object.key_id), "caller-key.view"),
        }

    def _shown(self, queryset: QuerySet[Any], action: str) -> Any:
        """What the execution names, if it still exists and the actor may see it."""
        return ports.visible(queryset, self.actor, action).first()


class ActivityFragment(Page):
    """A chart over another window of time, for the page that shows it."""

    def get(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        subject = Subject.parse(self.kwargs["subject"])
        return render(request, "telemetry/activity_region.html", activity_context(self.actor, subject))


_PRICES = [("Model prices", "telemetry:model-prices")]


@navigation.entry("Model prices", icon="coin", section="Govern", order=40, url="telemetry:model-prices", shortcut="p")
class PriceList(ListPage):
    """What tokens cost, for comparing releases."""

    title = "Model prices"
    subtitle = "What a million tokens of each model profile cost: with it, rollouts compare the cost of an execution."
    action = "model-price.view"
    queryset = ModelPrice.objects.all()
    table = PriceTable
    actions = [SET_PRICE]
    empty = EmptyState(
        "No prices yet",
        "Without prices, rollouts compare the tokens of releases that call the same models. With them, what an "
        "execution costs.",
        icon="coin",
        action=SET_PRICE,
    )


class PriceSet(CommandPage):
    """The price of a model profile that has none, or a new one for one that has."""

    command = commands.set_price
    form_class = NewPriceForm
    title = "Set a price"
    intro = "Take the figures from your provider's list. Studio charges nobody by them; it compares releases."
    submit = "Set price"
    success = "The price of {result} is set."
    trail = _PRICES

    def form_arguments(self) -> dict[str, Any]:
        used = ModelPrice.objects.order_by("-updated_at").values_list("currency", flat=True).first()
        return {"unpriced": unpriced_profiles(), "initial": {"currency": used or ""}}


class PriceChange(CommandPage):
    """Another price for a model profile."""

    action = "model-price.view"
    queryset = ModelPrice.objects.all()
    command = commands.set_price
    form_class = PriceForm
    title = "Price of {object}"
    success = "The price of {result} is set."
    trail = _PRICES

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        return {"profile": self.object.profile, **form.cleaned_data}


class PriceRemove(ConfirmPage):
    """Forget a price."""

    action = "model-price.view"
    queryset = ModelPrice.objects.all()
    command = commands.remove_price
    title = "Remove the price of {object}"
    question = "Remove the price of {object}?"
    consequence = "Releases that call it are then compared by their tokens, or not at all."
    submit = "Remove price"
    danger = True
    success = "{object} has no price any more."
    trail = _PRICES
