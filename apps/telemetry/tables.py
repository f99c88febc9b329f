"""Tables of executions and of prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_tables2 as tables
from django.utils.html import format_html

from apps.core.pages import ActionButton
from apps.core.tables import ActionsColumn, LinkColumn, NumberColumn, StatusColumn, Table, TimeColumn
from apps.telemetry.models import Execution, ModelPrice
from apps.telemetry.words import duration_words, money_words

if TYPE_CHECKING:
    from decimal import Decimal

    from django.utils.safestring import SafeString

SET_PRICE = ActionButton(
    "Set a price", icon="plus", url="telemetry:set-price", action="model-price.set", style="primary"
)
CHANGE_PRICE = ActionButton(
    "Change", icon="pencil", url="telemetry:change-price", action="model-price.set", method="dialog"
)
REMOVE_PRICE = ActionButton(
    "Remove", icon="trash", url="telemetry:remove-price", action="model-price.remove", method="dialog", style="danger"
)


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


class PriceTable(Table):
    """What a million tokens of each model profile cost."""

    profile = tables.Column(verbose_name="Model profile", attrs={"td": {"class": "cell-main"}})
    input_per_million = NumberColumn(verbose_name="A million tokens read")
    output_per_million = NumberColumn(verbose_name="A million tokens written")
    updated_at = TimeColumn(verbose_name="Since")
    menu = ActionsColumn([CHANGE_PRICE, REMOVE_PRICE])

    class Meta(Table.Meta):
        model = ModelPrice
        fields = ("profile", "input_per_million", "output_per_million", "updated_at")
        order_by = ("profile",)

    def render_input_per_million(self, value: Decimal, record: ModelPrice) -> str:
        return money_words(value, record.currency)

    def render_output_per_million(self, value: Decimal, record: ModelPrice) -> str:
        return money_words(value, record.currency)
