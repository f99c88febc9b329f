"""Table of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_tables2 as tables
from django.urls import reverse
from django.utils.html import format_html

from apps.audit.models import Event
from apps.core.statuses import badge
from apps.core.tables import Table, TimeColumn

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


class EventTable(Table):
    """What happened, by whom, to what."""

    sequence = tables.Column(verbose_name="No.")
    at = TimeColumn(verbose_name="When")
    action = tables.Column()
    actor_label = tables.Column(verbose_name="Actor")
    resource_label = tables.Column(verbose_name="Resource", order_by=("resource_type", "resource_label"))
    outcome = tables.Column()

    class Meta(Table.Meta):
        model = Event
        fields = ("sequence", "at", "action", "actor_label", "resource_label", "outcome")

    def render_action(self, record: Event) -> SafeString:
        address = reverse("audit:event", kwargs={"sequence": record.sequence})
        return format_html('<a class="cell-main" href="{}">{}</a>', address, record.action)

    def render_actor_label(self, record: Event) -> SafeString:
        return format_html('{}<span class="cell-detail">{}</span>', record.actor_label, record.actor_kind)

    def render_resource_label(self, record: Event) -> SafeString:
        return format_html(
            '{}<span class="cell-detail">{}</span>', record.resource_label or record.resource_id, record.resource_type
        )

    def render_outcome(self, record: Event) -> SafeString:
        return badge(record.outcome, str(record.detail.get("reason", "")))
