"""Pages of gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from apps.audit.tables import EventTable
from apps.core import navigation
from apps.core.pages import ActionButton, CommandPage, ConfirmPage, DetailPage, EmptyState, ListPage, PostPage, Tab
from apps.gateways import commands
from apps.gateways.filters import GatewayFilter
from apps.gateways.forms import GatewayForm, RegisterForm
from apps.gateways.labels import labels_as_text
from apps.gateways.live import gateway_context
from apps.gateways.models import Gateway, Placement
from apps.gateways.queries import events_of_gateway, gateways_with_waiting, titles_of
from apps.gateways.signing import public_key
from apps.gateways.snippets import install_commands
from apps.gateways.tables import (
    ACCEPT_IDENTITY,
    EDIT_GATEWAY,
    FORGET,
    REGISTER,
    REMOVE,
    RETRY,
    GatewayTable,
    PlacementTable,
)
from apps.gateways.views.base import InEnvironmentPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

_TRAIL = [("Gateways", "gateways:gateways")]


@navigation.entry("Gateways", icon="server-2", section="Run", order=20, url="gateways:gateways", shortcut="w")
class GatewayList(ListPage):
    """Every gateway, with how it is."""

    title = "Gateways"
    subtitle = "The processes that run agents and answer callers. Studio pushes to them; they never call Studio."
    action = "gateway.view"
    queryset = Gateway.objects.all()
    table = GatewayTable
    filters = GatewayFilter
    actions = [REGISTER]
    empty = EmptyState(
        "No gateways yet",
        "A gateway runs what you deploy and answers callers. Start one with this organization's public key, "
        "then register it here.",
        icon="server-2",
        action=REGISTER,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return gateways_with_waiting(Gateway.objects.select_related("environment"))


def _overview(page: GatewayDetail) -> Mapping[str, Any]:
    return gateway_context(page.object)


def _placements(page: GatewayDetail) -> Mapping[str, Any]:
    rows = Placement.objects.filter(gateway=page.object).explained()
    return {"table": page.tabulate(PlacementTable, rows, titles=titles_of(rows))}


def _history(page: GatewayDetail) -> Mapping[str, Any]:
    return {"table": page.tabulate(EventTable, events_of_gateway(page.object))}


class GatewayDetail(DetailPage):
    """One gateway: how it is, what should be on it and what is, and what happened to it."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    trail = _TRAIL
    panels = "gateway"
    tabs = [
        Tab("overview", "Overview", template="gateways/tabs/gateway.html", context=_overview),
        Tab(
            "placements",
            "Contents",
            template="gateways/tabs/placements.html",
            context=_placements,
            count=lambda gateway: gateway.placements.count(),
        ),
        Tab("history", "History", template="gateways/tabs/history.html", context=_history, action="event.view"),
    ]

    def context(self) -> dict[str, Any]:
        return {**super().context(), "actions": _actions(self.object)}


def _actions(gateway: Gateway) -> list[ActionButton]:
    """What makes sense for a gateway in its present state; the rest would only be in the way."""
    buttons = [RETRY, EDIT_GATEWAY]
    if gateway.status == Gateway.Status.REFUSED and gateway.pinned:
        buttons.append(ACCEPT_IDENTITY)
    if gateway.pinned and gateway.leaving_at is None:
        buttons.append(REMOVE)
    if not gateway.reachable or gateway.leaving_at is not None:
        buttons.append(FORGET)
    return buttons


class GatewayRegister(InEnvironmentPage):
    """Take a gateway into an environment."""

    command = commands.register_gateway
    form_class = RegisterForm
    title = "Register gateway"
    submit = "Register gateway"
    success = "{result} is registered. It is polled now, and receives everything that runs in its environment."
    template_name = "gateways/register.html"
    trail = _TRAIL

    def context(self) -> dict[str, Any]:
        return {**super().context(), "install": install_commands(public_key())}


class GatewayEdit(CommandPage):
    """Change where a gateway is reached, with which token, and its labels."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    command = commands.edit_gateway
    form_class = GatewayForm
    title = "Edit {object}"
    success = "Saved. {result} is polled now."
    trail = _TRAIL

    def initial(self, shown: Any) -> dict[str, Any]:
        return {"address": shown.address, "labels": labels_as_text(shown.labels)}


class GatewayRetry(PostPage):
    """Try again now."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    command = commands.retry_gateway
    title = "Retry"
    success = "Everything that waits for {object} is tried again now."


class GatewayAcceptIdentity(ConfirmPage):
    """Accept the identity of whoever answers next."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    command = commands.accept_identity
    title = "Accept new identity"
    question = "Accept whatever answers at {object.address} as {object}?"
    consequence = (
        "Do this only if you reinstalled the gateway. The next answer is pinned as its identity, and everything that "
        "its environment runs is pushed to it."
    )
    submit = "Accept the next answer"
    success = "{object} is pinned anew with its next answer."
    danger = True
    trail = _TRAIL


class GatewayRemove(ConfirmPage):
    """Empty a gateway and then forget it."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    command = commands.remove_gateway
    title = "Remove {object}"
    question = "Remove {object} from {object.environment}?"
    consequence = (
        "It finishes what runs, accepts nothing new, and gives up its agents and keys. It is forgotten as soon as it "
        "has confirmed that it is empty."
    )
    submit = "Remove gateway"
    success = "{object} is being emptied."
    danger = True
    trail = _TRAIL


class GatewayForget(ConfirmPage):
    """Forget a gateway that does not answer any more."""

    action = "gateway.view"
    queryset = Gateway.objects.select_related("environment")
    command = commands.forget_gateway
    title = "Forget {object}"
    question = "Forget {object} without emptying it?"
    consequence = (
        "For a gateway that is gone for good. If it still runs, it goes on answering callers with the keys it has, and "
        "Studio cannot reach it to stop that. This cannot be undone."
    )
    typed = "name"
    submit = "Forget gateway"
    success = "{object} is forgotten."
    danger = True
    trail = _TRAIL

    def success_url(self, result: Any) -> str:
        del result
        return reverse("gateways:gateways")
