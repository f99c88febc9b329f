"""Panels: how an app of a higher floor shows its facts on the page of a lower one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.template.loader import render_to_string

from apps.core.permissions import allowed

if TYPE_CHECKING:
    from django.db.models import Model
    from django.utils.safestring import SafeString

    from apps.core.pages.actions import ActionButton

Context = Callable[[HttpRequest, Any], "Mapping[str, Any] | None"]


@dataclass(frozen=True, slots=True)
class Panel:
    """A registered panel.

    Attributes:
        on: name of the pages that show it, such as `agent`.
        action: permission needed on the page's object; None shows it to everybody who sees the page.
        side: stands in the narrow column at the right.
    """

    on: str
    title: str
    template: str
    context: Context
    tab: str
    order: int
    action: str | None
    side: bool


_panels: list[Panel] = []
_buttons: dict[str, list[ActionButton]] = {}


def panel(
    *,
    on: str,
    title: str,
    template: str,
    tab: str = "overview",
    order: int = 100,
    action: str | None = None,
    side: bool = False,
) -> Callable[[Context], Context]:
    """Register a function `(request, object) -> context | None` as a panel; None leaves it out."""

    def register(context: Context) -> Context:
        # Development reloads modules: the newer registration of the same panel replaces the older one.
        _panels[:] = [each for each in _panels if (each.on, each.title) != (on, title)]
        _panels.append(Panel(on, title, template, context, tab, order, action, side))
        return context

    return register


def rendered(request: HttpRequest, on: str, shown: Model, *, tab: str, side: bool = False) -> list[SafeString]:
    """The panels of a page as HTML, in order, as far as the actor may see them."""
    markup: list[SafeString] = []
    for each in sorted(_panels, key=lambda each: (each.order, each.title)):
        if (each.on, each.tab, each.side) != (on, tab, side):
            continue
        if each.action is not None and not allowed(request, each.action, shown):
            continue
        context = each.context(request, shown)
        if context is not None:
            values = {"object": shown, "panel": each, **context}
            markup.append(render_to_string(each.template, values, request))
    return markup


def page_button(button: ActionButton, *, on: str) -> ActionButton:
    """Add a button to the head of the pages named `on`, before their own."""
    known = _buttons.setdefault(on, [])
    _buttons[on] = [each for each in known if each.url != button.url] + [button]
    return button


def page_buttons(on: str) -> list[ActionButton]:
    """The buttons that other apps added to a page."""
    return list(_buttons.get(on, ()))
