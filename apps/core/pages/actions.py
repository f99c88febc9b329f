"""Buttons that lead to a change, shown to those who may make it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.urls import get_resolver, reverse
from django.utils.safestring import SafeString

from apps.core.permissions import allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.models import Model
    from django.http import HttpRequest

Style = Literal["primary", "secondary", "danger", "quiet"]
Method = Literal["get", "post", "dialog"]


@dataclass(frozen=True, slots=True)
class ActionButton:
    """A link or button for one action.

    Attributes:
        url: URL name. Its arguments come from `args(object)`, or from the object by the names in the URL pattern:
            `agents/<slug:slug>/publish/` takes `object.slug`, and `agent__slug` takes `object.agent.slug`.
        action: shown only to an actor who may do this on the object; "" shows it to everybody.
        method: `get` follows a link, `post` submits at once, `dialog` opens the page in a dialog (a page of its own
            without JavaScript).
        when: why the object does not allow it now, or None; then it is shown disabled, with that reason.
    """

    label: str
    icon: str
    url: str
    action: str = ""
    style: Style = "secondary"
    method: Method = "get"
    args: Callable[[Any], Mapping[str, Any]] | None = None
    when: Callable[[Any], str | None] | None = None

    def visible(self, request: HttpRequest, resource: Model | None) -> bool:
        return not self.action or allowed(request, self.action, resource)

    def address(self, resource: Model | None) -> str:
        """Where the button leads for this object."""
        if self.args is not None:
            return reverse(self.url, kwargs=dict(self.args(resource)))
        return reverse(self.url, kwargs={name: _attribute(resource, name) for name in _pattern_arguments(self.url)})

    def render(
        self, request: HttpRequest, resource: Model | None, *, small: bool = False, template: str = ""
    ) -> SafeString:
        """The button as HTML; empty for those who may not."""
        if not self.visible(request, resource):
            return SafeString("")
        context = {
            "button": self,
            "address": self.address(resource),
            "reason": self.when(resource) if self.when else None,
            "token": get_token(request) if self.method == "post" else "",
            "small": small,
        }
        return render_to_string(template or "components/action.html", context)


@cache
def _pattern_arguments(url: str) -> tuple[str, ...]:
    """The names in the URL pattern behind a URL name of an organization's pages."""
    resolver = get_resolver()
    *namespaces, name = url.split(":")
    for namespace in namespaces:
        _, resolver = resolver.namespace_dict[namespace]
    candidates = resolver.reverse_dict.getlist(name)
    if not candidates:
        raise ImproperlyConfigured(f"No URL is called “{url}”.")
    ((_, arguments), *_), *_ = candidates[0]
    return tuple(arguments)


def _attribute(resource: Model | None, path: str) -> Any:
    value: Any = resource
    for name in path.split("__"):
        value = getattr(value, name)
    return value
