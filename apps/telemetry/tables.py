"""Table of executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_tables2 as tables
from django.utils.html import format_html

from apps.core.tables import LinkColumn, NumberColumn, StatusColumn, Table, TimeColumn
from apps.telemetry.models import Execution
from apps.telemetry.words import duration_words

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


class ExecutionTable(Table):
    """What was called, when, by whom, and how it went."""

    registration = LinkColumn(verbose_name="Called")
    status = StatusColumn(reason="reason")
    started_at = TimeColumn(verbose_name="Started")
    duration_ms = NumberColumn(verbose_name="Took")
    tokens = NumberColumn(empty_values=(), order_by=("input_tokens", "output_tokens"), verbose_name="Tokens in / out")
    channel = tables.Column()
    key_name = tables.Column(verbose_name="Key", empty_values=(), orderable=False)
    gateway_name = tables.Column(verbose_name="Gateway")

    class Meta(Table.Meta):
        model = Execution
        fields = (
            "registration", "status", "started_at", "duration_ms", "tokens", "channel", "key_name", "gateway_name",
        )  # fmt: skip
        order_by = ("-started_at",)

    def render_duration_ms(self, value: float) -> str:
        return duration_words(value)

    def render_tokens(self, record: Execution) -> str:
        return f"{record.input_tokens:,} / {record.output_tokens:,}"

    def render_key_name(self, value: Any, record: Execution) -> SafeString:
        return format_html("{}", value) if value else format_html("<code>{}</code>", record.key_id)
