"""Pages of caller keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.audit.queries import events_of
from apps.audit.tables import EventTable
from apps.core import navigation
from apps.core.pages import CommandPage, ConfirmPage, DetailPage, EmptyState, ListPage, Tab
from apps.gateways import commands
from apps.gateways.filters import KeyFilter
from apps.gateways.forms import KeyForm, LimitsForm, limits_as_fields
from apps.gateways.limits import limits_in_words
from apps.gateways.live import key_context
from apps.gateways.models import CallerKey
from apps.gateways.queries import keys_with_unconfirmed, registrations_in
from apps.gateways.snippets import curl_with
from apps.gateways.tables import LIMIT, NEW_KEY, REVOKE, KeyTable
from apps.gateways.views.base import InEnvironmentPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django import forms
    from django.db.models import QuerySet
    from django.http import HttpResponse

_TRAIL = [("Caller keys", "gateways:caller-keys")]


@navigation.entry("Caller keys", icon="key", section="Run", order=50, url="gateways:caller-keys", shortcut="k")
class KeyList(ListPage):
    """Keys with which applications call agents."""

    title = "Caller keys"
    subtitle = "What applications call agents with. Gateways and Studio keep only a hash of each."
    action = "caller-key.view"
    queryset = CallerKey.objects.all()
    table = KeyTable
    filters = KeyFilter
    actions = [NEW_KEY]
    empty = EmptyState(
        "No caller keys yet",
        "An application needs a key to call an agent. Make one, and pass it on over a safe channel.",
        icon="key",
        action=NEW_KEY,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return keys_with_unconfirmed(CallerKey.objects.lasting().select_related("environment"))


def _overview(page: KeyDetail) -> Mapping[str, Any]:
    key: CallerKey = page.object
    return {
        **key_context(key),
        "limits": limits_in_words(key.limits),
        "curl": curl_with(key, "$GATEWAY_KEY"),
        "known": registrations_in(key.environment),
    }


def _history(page: KeyDetail) -> Mapping[str, Any]:
    return {"table": page.tabulate(EventTable, events_of("caller-key", str(page.object.pk)))}


class KeyDetail(DetailPage):
    """One key: what it may call, which gateways know of it, when it was last used."""

    action = "caller-key.view"
    queryset = CallerKey.objects.select_related("environment")
    trail = _TRAIL
    panels = "caller-key"
    actions = [LIMIT, REVOKE]
    tabs = [
        Tab("overview", "Overview", template="gateways/tabs/key.html", context=_overview),
        Tab("history", "History", template="gateways/tabs/history.html", context=_history, action="event.view"),
    ]


class KeyCreate(InEnvironmentPage):
    """A new key, whose text is shown once."""

    command = commands.create_key
    form_class = KeyForm
    title = "New caller key"
    submit = "Create key"
    trail = _TRAIL

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        assert isinstance(form, KeyForm)
        values = form.cleaned_data
        return {
            "environment": values["environment"],
            "name": values["name"],
            "scopes": form.chosen_scopes(),
            "expires_at": form.expires_at(),
            "limits": form.chosen_limits(),
        }

    def respond(self, result: Any) -> HttpResponse:
        key, text = result
        return self.show(
            template="gateways/key_made.html",
            secret=text.text,
            secret_title=f"The key for {key.name}",
            warning="Copy it now. It is shown this once; Studio and the gateways keep only a hash.",
            then=key.get_absolute_url(),
            curl=curl_with(key, text.text),
        )


class KeyLimit(CommandPage):
    """Change what a key may use."""

    action = "caller-key.view"
    queryset = CallerKey.objects.select_related("environment")
    command = commands.limit_key
    form_class = LimitsForm
    title = "Limits of {object}"
    intro = "They hold on every gateway of its environment with the next call. What the key has spent stays counted."
    success = "Saved. The page shows which gateways have confirmed."
    trail = _TRAIL

    def initial(self, shown: Any) -> dict[str, Any]:
        return limits_as_fields(shown.limits)

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        assert isinstance(form, LimitsForm)
        return {"limits": form.chosen_limits()}


class KeyRevoke(ConfirmPage):
    """End a key."""

    action = "caller-key.view"
    queryset = CallerKey.objects.select_related("environment")
    command = commands.revoke_key
    title = "Revoke {object}"
    question = "Revoke the key {object}?"
    consequence = (
        "Every application that uses it is refused, within two seconds on gateways that can be reached. The others are "
        "named until they confirm. This cannot be undone."
    )
    submit = "Revoke key"
    success = "{object} is revoked. Its page shows which gateways have confirmed."
    danger = True
    trail = _TRAIL

    def success_url(self, result: Any) -> str:
        return str(result.get_absolute_url())
