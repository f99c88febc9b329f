"""Tables of environments, gateways, keys and placements, and the buttons for what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import django_tables2 as tables
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core.pages import ActionButton
from apps.core.permissions import allowed
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.core.statuses import badge
from apps.core.tables import ActionsColumn, LinkColumn, NumberColumn, Table, TimeColumn
from apps.core.templatetags.ui import digest
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.queries import environment_status
from contract.caller_keys import EVERYTHING
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from django.db.models import Model
    from django.http import HttpRequest


@dataclass(frozen=True, slots=True)
class MakeButton(ActionButton):
    """A button for making something in an environment: shown to whoever may do so in at least one."""

    def visible(self, request: HttpRequest, resource: Model | None) -> bool:
        if isinstance(resource, Environment):
            return allowed(request, self.action, resource)
        return allowed(request, self.action) or environments_for(request, self.action).exists()

    def address(self, resource: Model | None) -> str:
        """On an environment's page the form starts with that environment."""
        page = reverse(self.url)
        return f"{page}?environment={resource.slug}" if isinstance(resource, Environment) else page


def environments_for(request: HttpRequest, action: str) -> Any:
    """Environments in which the actor may do something."""
    return ports.visible(Environment.objects.all(), actor_of(request), action)


def _why_not_accept(gateway: Gateway) -> str | None:
    return None if gateway.pinned else "It has not answered yet, so it has no identity to replace"


def _why_not_remove(gateway: Gateway) -> str | None:
    if gateway.leaving_at is not None:
        return "It is being removed already"
    return None if gateway.pinned else "It has never answered, so there is nothing to empty: forget it"


def _why_not_limit(key: CallerKey) -> str | None:
    return f"It is {key.state}" if key.state in ("revoked", "expired") else None


def _why_not_revoke(key: CallerKey) -> str | None:
    return None if key.revoked_at is None else "It is revoked"


REGISTER = MakeButton(
    "Register gateway", icon="plus", url="gateways:register", action="gateway.register", style="primary"
)
EDIT_GATEWAY = ActionButton("Edit", icon="pencil", url="gateways:edit-gateway", action="gateway.edit")
RETRY = ActionButton("Retry now", icon="refresh", url="gateways:retry", action="gateway.retry", method="post")
ACCEPT_IDENTITY = ActionButton(
    "Accept new identity",
    icon="fingerprint",
    url="gateways:accept-identity",
    action="gateway.accept-identity",
    method="dialog",
    when=_why_not_accept,
)
REMOVE = ActionButton(
    "Remove",
    icon="door-exit",
    url="gateways:remove",
    action="gateway.remove",
    method="dialog",
    style="danger",
    when=_why_not_remove,
)
FORGET = ActionButton(
    "Forget", icon="trash", url="gateways:forget", action="gateway.forget", method="dialog", style="danger"
)
NEW_ENVIRONMENT = ActionButton(
    "New environment",
    icon="plus",
    url="gateways:create-environment",
    action="environment.create",
    style="primary",
)
EDIT_ENVIRONMENT = ActionButton("Edit", icon="pencil", url="gateways:edit-environment", action="environment.edit")
NEW_KEY = MakeButton("New key", icon="plus", url="gateways:create-key", action="caller-key.create", style="primary")
NEW_KEY_HERE = replace(NEW_KEY, style="secondary")
LIMIT = ActionButton(
    "Limits",
    icon="gauge",
    url="gateways:limit-key",
    action="caller-key.limit",
    when=_why_not_limit,
)
REVOKE = ActionButton(
    "Revoke",
    icon="ban",
    url="gateways:revoke-key",
    action="caller-key.revoke",
    method="dialog",
    style="danger",
    when=_why_not_revoke,
)


class EnvironmentTable(Table):
    """Environments with what stands in them. The rows are annotated by `environments_with_counts`."""

    name = LinkColumn(detail="slug")
    status = tables.Column(empty_values=(), orderable=False)
    gateways_total = NumberColumn(verbose_name="Gateways")
    keys_living = NumberColumn(verbose_name="Living keys")
    poll_interval_s = NumberColumn(verbose_name="Polled every", unit="s")

    class Meta(Table.Meta):
        model = Environment
        fields = ("name", "status", "gateways_total", "keys_living", "poll_interval_s")

    def render_status(self, record: Any) -> SafeString:
        return badge(*environment_status(record.gateways_total, record.gateways_answering))


class GatewayTable(Table):
    """Gateways with how they are. The rows are annotated by `gateways_with_waiting`."""

    name = LinkColumn(detail="address")
    environment = tables.Column(order_by=("environment__order",))
    status = tables.Column()
    in_flight = tables.Column(verbose_name="Load")
    registrations = NumberColumn()
    waiting = tables.Column(verbose_name="Waiting")
    version = tables.Column()
    last_seen_at = TimeColumn(verbose_name="Last seen")

    class Meta(Table.Meta):
        model = Gateway
        fields = (
            "name",
            "environment",
            "status",
            "in_flight",
            "registrations",
            "waiting",
            "version",
            "last_seen_at",
        )
        order_by = ("environment", "name")

    def render_status(self, record: Gateway) -> SafeString:
        if record.leaving_at is not None:
            return badge("removing", "is emptied before it is forgotten")
        return badge(record.status, record.status_reason)

    def render_in_flight(self, record: Gateway) -> str:
        return load_words(record)

    def render_waiting(self, value: int) -> SafeString:
        return badge("progressing", f"{value} to push") if value else SafeString('<span class="muted">none</span>')


def load_words(gateway: Gateway) -> str:
    """`3 of 64` executions."""
    return f"{gateway.in_flight} of {gateway.max_concurrent}" if gateway.max_concurrent else "unknown"


def scope_words(scopes: list[str]) -> str:
    """What a key may call, short."""
    if scopes == [EVERYTHING]:
        return "everything"
    return scopes[0] if len(scopes) == 1 else f"{scopes[0]} and {len(scopes) - 1} more"


REVOKE_IN_LIST = replace(REVOKE, style="secondary")


class KeyTable(Table):
    """Keys of applications. The rows are annotated by `keys_with_unconfirmed`."""

    name = LinkColumn(detail="public_id")
    environment = tables.Column(order_by=("environment__order",))
    state = tables.Column(orderable=False)
    scopes = tables.Column(verbose_name="May call", orderable=False)
    last_used_at = TimeColumn(verbose_name="Last used")
    expires_at = TimeColumn(verbose_name="Expires")
    created_at = TimeColumn(verbose_name="Made")
    menu = ActionsColumn([REVOKE_IN_LIST])

    class Meta(Table.Meta):
        model = CallerKey
        fields = ("name", "environment", "state", "scopes", "last_used_at", "expires_at", "created_at", "menu")
        order_by = ("-created_at",)

    def render_state(self, value: str, record: Any) -> SafeString:
        gateways = "1 gateway" if record.unconfirmed == 1 else f"{record.unconfirmed} gateways"
        if record.unconfirmed and value == "revoked":
            return badge("revoking", f"not confirmed by {gateways}")
        return badge(value, f"not yet on {gateways}" if record.unconfirmed and value != "expired" else "")

    def render_scopes(self, value: list[str]) -> str:
        return scope_words(value)


class PlacementTable(Table):
    """What should be on a gateway, beside what is.

    Args:
        titles: what people call the keys among the rows, by public id.
    """

    name = tables.Column()
    status = tables.Column(empty_values=(), orderable=False)
    desired_generation = tables.Column(verbose_name="Wanted")
    observed_generation = tables.Column(verbose_name="There")
    since = TimeColumn(verbose_name="Since", orderable=False, accessor="condition__since")

    class Meta(Table.Meta):
        model = Placement
        fields = ("name", "status", "desired_generation", "observed_generation", "since")

    def __init__(self, *args: Any, titles: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.titles = titles

    def render_name(self, value: str, record: Placement) -> SafeString:
        title = self.titles.get(value)
        name, detail = (title, f"key {value}") if title else (value, record.kind)
        return format_html('<span class="cell-main">{}</span><span class="cell-detail">{}</span>', name, detail)

    def render_status(self, record: Placement) -> SafeString:
        return badge(record.status, record.reason(timezone.now()))

    def render_desired_generation(self, record: Placement) -> SafeString:
        return _stamp(record.desired_generation, record.desired_digest)

    def render_observed_generation(self, record: Placement) -> SafeString:
        return _stamp(record.observed_generation, record.observed_digest)


def _stamp(generation: int, content: str) -> SafeString:
    """A generation and what it holds."""
    if not content:
        return SafeString('<span class="muted">nothing</span>')
    shown = SafeString('<span class="muted">gone</span>') if content == TOMBSTONE_DIGEST else digest(content)
    return format_html('<span class="text-nowrap"><span class="mini-tag">{}</span> {}</span>', generation, shown)
