"""Tables of lists, on django-tables2: the look, and the columns that keep coming back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_tables2 as tables
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core import moments, statuses
from apps.core.panels import page_buttons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

    from apps.core.pages.actions import ActionButton


class Table(tables.Table):
    """Base of every table. On a phone each row becomes a card with the headings as labels.

    Attributes:
        swapped_in: CSS selector of the element that htmx replaces when the table is sorted or paged; "" follows the
            links as a browser does.
    """

    swapped_in: str = ""

    class Meta:
        template_name = "generic/table.html"
        attrs = {"class": "table table-vcenter stacked"}
        order_by_field = "sort"
        default = "\N{EN DASH}"


class LinkColumn(tables.Column):
    """The name of the row, linked to its page, with a muted second line.

    Args:
        detail: attribute path of the second line.
    """

    def __init__(self, *, detail: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.detail = detail

    def render(self, value: Any, record: Any) -> SafeString:
        second = tables.A(self.detail).resolve(record, quiet=True) if self.detail else ""
        line = format_html('<span class="cell-detail">{}</span>', second) if second else ""
        return format_html('<a class="cell-main" href="{}">{}</a>{}', record.get_absolute_url(), value, line)


class StatusColumn(tables.Column):
    """An adjective with its reason.

    Args:
        reason: attribute path of the reason.
    """

    def __init__(self, *, reason: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def render(self, value: Any, record: Any) -> SafeString:
        reason = tables.A(self.reason).resolve(record, quiet=True) if self.reason else ""
        return statuses.badge(str(value), str(reason or ""))


class TimeColumn(tables.Column):
    """A moment, relative, with the absolute time in its title.

    Args:
        never: what stands for a moment that has not come.
    """

    def __init__(self, *, never: str = "never", **kwargs: Any) -> None:
        super().__init__(empty_values=(), **kwargs)
        self.never = never

    def render(self, value: Any) -> SafeString:
        return moments.ago(value, self.never)


class NumberColumn(tables.Column):
    """A figure: at the right, digits of equal width, thousands apart.

    Args:
        unit: stands behind the figure.
    """

    def __init__(self, *, unit: str = "", **kwargs: Any) -> None:
        super().__init__(attrs={"th": {"class": "number"}, "td": {"class": "number"}}, **kwargs)
        self.unit = unit

    def render(self, value: Any) -> str:
        figure = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        return f"{figure} {self.unit}".strip()


class DigestColumn(tables.Column):
    """A content address, short, to copy."""

    def render(self, value: Any) -> SafeString:
        from apps.core.templatetags.ui import digest

        return digest(str(value))


class CodeColumn(tables.Column):
    """An identifier, in a fixed-width face."""

    def render(self, value: Any) -> SafeString:
        return format_html("<code>{}</code>", value)


class ActionsColumn(tables.Column):
    """The row's actions: one as a button, several in a menu.

    Args:
        buttons: what may be done with a row; each is shown only to those who may.
        on: name under which higher apps add buttons with `panels.page_button`; "" for none.
    """

    def __init__(self, buttons: Sequence[ActionButton], *, on: str = "", **kwargs: Any) -> None:
        attrs = {"th": {"class": "actions"}, "td": {"class": "actions"}}
        super().__init__(verbose_name="", orderable=False, empty_values=(), attrs=attrs, **kwargs)
        self.buttons = tuple(buttons)
        self.on = on

    def render(self, record: Model, table: tables.Table) -> SafeString:
        buttons = (*self.buttons, *page_buttons(self.on))
        menu = len(buttons) > 1
        template = "components/action_item.html" if menu else ""
        drawn = [button.render(table.request, record, small=True, template=template) for button in buttons]
        items = [each for each in drawn if each]
        if not menu or not items:
            return items[0] if items else SafeString("")
        return render_to_string("components/action_menu.html", {"items": items, "of": str(record)})
