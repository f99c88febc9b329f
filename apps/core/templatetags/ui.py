"""The components of the dashboard. What each is for stands in `docs/frontend.md`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django import template
from django.conf import settings
from django.forms import BoundField, CheckboxInput, CheckboxSelectMultiple, RadioSelect, Select
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join, json_script
from django.utils.safestring import SafeString

from apps.core import diffs, icons, moments, navigation, statuses
from apps.core import panels as panel_registry
from apps.core.json_view import tree

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model
    from django.http import HttpRequest

    from apps.core.pages.actions import ActionButton

register = template.Library()

DIGEST_SHOWN = 12
NOTHING = format_html('<span class="muted">{}</span>', "\N{EN DASH}")


@register.simple_tag
def icon(name: str, size: str = "", extra_class: str = "") -> SafeString:
    return icons.icon(name, size, extra_class)


@register.simple_tag
def status(adjective: str, reason: str = "") -> SafeString:
    return statuses.badge(str(adjective), str(reason or ""))


@register.simple_tag
def ago(moment: datetime | None, never: str = "never") -> SafeString:
    return moments.ago(moment, never)


@register.simple_tag
def copy(text: object, label: str = "Copy") -> SafeString:
    return format_html(
        '<button type="button" class="copy js-only" data-copy="{}" aria-label="{}" title="{}">'
        '<span class="todo">{}</span><span class="done">{}</span></button>',
        str(text),
        label,
        label,
        icons.icon("copy"),
        icons.icon("check"),
    )


@register.simple_tag
def digest(value: str | None) -> SafeString:
    """A content address, short, with the whole of it one click away."""
    if not value:
        return NOTHING
    short = value.removeprefix("sha256:")[:DIGEST_SHOWN]
    return format_html(
        '<span class="digest"><code title="{}">{}</code>{}</span>', value, short, copy(value, "Copy digest")
    )


@register.simple_tag
def code(text: object, language: str = "", *, wrap: bool = False) -> SafeString:
    return format_html(
        '<div class="codeblock{}"><pre tabindex="0"><code class="language-{}">{}</code></pre>{}</div>',
        " wrap" if wrap else "",
        language or "text",
        str(text),
        copy(text),
    )


@register.simple_tag(name="json")
def json_viewer(value: Any, open_levels: int = 2) -> SafeString:
    """A JSON value as a tree that folds; text that is JSON is parsed first."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return code(value, "json", wrap=True)
    return format_html('<div class="json">{}</div>', tree(value, open_levels))


@register.inclusion_tag("components/secret.html")
def secret(
    value: str, title: str = "Copy it now", warning: str = "It is shown this once and stored nowhere."
) -> dict[str, str]:
    return {"value": value, "title": title, "warning": warning}


@register.simple_block_tag
def card(
    content: str, title: str = "", *, icon: str = "", flush: bool = False, footer: str = "", link: str = "",
    link_label: str = "View all", id: str = "",  # noqa: A002  the name that templates give it
) -> SafeString:  # fmt: skip
    context = {
        "content": content, "title": title, "icon": icon, "flush": flush, "footer": footer, "link": link,
        "link_label": link_label, "id": id,
    }  # fmt: skip
    return render_to_string("components/card.html", context)


@register.simple_block_tag
def facts(content: str) -> SafeString:
    return format_html('<dl class="facts">{}</dl>', content)


@register.simple_block_tag
def fact(content: str, label: str) -> SafeString:
    shown = content if content.strip() else NOTHING
    return format_html("<dt>{}</dt><dd>{}</dd>", label, shown)


@register.simple_block_tag
def empty(content: str, title: str, text: str = "", *, icon: str = "inbox", compact: bool = False) -> SafeString:
    context = {"title": title, "text": text, "icon": icon, "compact": compact, "buttons": SafeString(content.strip())}
    return render_to_string("components/empty.html", context)


@register.simple_tag
def metric(label: str, value: object, hint: str = "") -> SafeString:
    small = format_html("<small>{}</small>", hint) if hint else ""
    return format_html(
        '<div class="card"><dl class="metric mb-0"><dt>{}</dt><dd>{}{}</dd></dl></div>', label, value, small
    )


@register.simple_tag
def avatar(name: str) -> SafeString:
    words = [word for word in name.split("@", 1)[0].replace(".", " ").replace("_", " ").split() if word]
    initials = "".join(word[0] for word in words[:2]).upper() or "?"
    return format_html('<span class="avatar-initials" aria-hidden="true">{}</span>', initials)


@register.simple_tag
def kbd(keys: str) -> SafeString:
    return format_html_join(" ", "<kbd>{}</kbd>", ((key,) for key in keys.split()))


@register.simple_tag(takes_context=True)
def action(
    context: Mapping[str, Any], button: ActionButton, resource: Model | None = None, *, small: bool = False
) -> SafeString:
    return button.render(context["request"], resource, small=small)


@register.simple_tag(takes_context=True)
def actions(context: Mapping[str, Any], buttons: Iterable[ActionButton], resource: Model | None = None) -> SafeString:
    request: HttpRequest = context["request"]
    return format_html_join("", "{}", ((button.render(request, resource),) for button in buttons))


@register.simple_tag
def diff(old: Any, new: Any) -> SafeString:
    """Two texts, or two records field by field."""
    if isinstance(new, Mapping) or isinstance(old, Mapping):
        fields = diffs.diff_fields(old or {}, new or {})
    else:
        fields = (diffs.FieldDiff("", diffs.diff_texts(str(old or ""), str(new or ""))),)
    changed = [field for field in fields if field.lines]
    same = [field.name for field in fields if not field.lines and field.name]
    return render_to_string("components/diff.html", {"changed": changed, "same": same})


@register.simple_tag(takes_context=True)
def panels(context: Mapping[str, Any], on: str, tab: str = "overview", *, side: bool = False) -> SafeString:
    markup = panel_registry.rendered(context["request"], on, context["object"], tab=tab, side=side)
    return format_html_join("", "{}", ((each,) for each in markup))


@register.inclusion_tag("components/chart.html")
def chart(figures: Mapping[str, Any] | None, title: str = "", empty: str = "Nothing in this period.") -> dict[str, Any]:
    """A time series. `figures`: times (unix seconds), series [{label, values, color, kind}], unit, stacked."""
    series = (figures or {}).get("series", [])
    drawn = any(value for each in series for value in each["values"])
    # The same figures get the same name, so that a live region which changed elsewhere leaves the chart alone.
    identifier = f"chart-{sha256(json.dumps([title, figures], default=str).encode()).hexdigest()[:12]}"
    script = json_script(figures, identifier) if drawn else ""
    return {"title": title, "empty": empty, "drawn": drawn, "identifier": identifier, "script": script}


@register.simple_block_tag
def live(content: str, name: str, identifier: object) -> SafeString:
    """A region that a WebSocket keeps fresh."""
    return format_html(
        '<div class="live" data-live="/ws/live/{}/{}/"><div class="live-hint" role="status">{}<span></span></div>'
        "<div data-live-body>{}</div></div>",
        name,
        str(identifier),
        icons.icon("plug-connected-x", "sm"),
        content,
    )


@register.inclusion_tag("components/playground.html")
def playground(
    identifier: object,
    placeholder: str = "Write a message",
    intro: str = "What you write goes through the gateway to the deployed agent.",
) -> dict[str, str]:
    return {"identifier": str(identifier), "placeholder": placeholder, "intro": intro}


@register.simple_tag(takes_context=True)
def added_actions(context: Mapping[str, Any], on: str) -> SafeString:
    """The buttons that other apps added to the page named `on`."""
    request: HttpRequest = context["request"]
    added = panel_registry.page_buttons(on)
    return format_html_join("", "{}", ((button.render(request, context["object"]),) for button in added))


# What the frame and the form templates need -----------------------------------------------------------------------


@register.simple_tag(takes_context=True)
def nav_links(context: Mapping[str, Any], section: str) -> list[navigation.Link]:
    return navigation.links(context["request"], section)  # type: ignore[arg-type]  # written in our own templates


@register.simple_tag
def nav_sections() -> tuple[str, ...]:
    return navigation.SECTIONS


@register.simple_tag
def studio_version() -> str:
    return str(settings.KAIZEN_VERSION)


@register.filter
def widget_kind(field: BoundField) -> str:
    """How a field's widget is laid out: switch, check, options or control."""
    widget = field.field.widget
    if isinstance(widget, CheckboxSelectMultiple | RadioSelect):
        return "options"
    if isinstance(widget, CheckboxInput):
        return "switch" if getattr(widget, "switch", False) else "check"
    return "control"


@register.simple_tag
def widget(field: BoundField, **attributes: str) -> SafeString:
    """The field's control with the classes of its kind; Django adds the aria attributes."""
    own = field.field.widget.attrs.get("class", "")
    base = {"control": "form-select" if isinstance(field.field.widget, Select) else "form-control"}.get(
        widget_kind(field), "form-check-input"
    )
    classes = " ".join(filter(None, [base, own, "is-invalid" if field.errors else ""]))
    return field.as_widget(attrs={"class": classes, **attributes})
