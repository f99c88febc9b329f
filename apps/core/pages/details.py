"""Pages that show one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from apps.core.errors import NotFound
from apps.core.pages.base import ObjectPage
from apps.core.permissions import allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Tab:
    """One face of an object.

    Attributes:
        key: its name in the address, `?tab=versions`; the first tab needs none.
        context: `(page) -> values` for its template, computed only when it is shown.
        count: a number beside the label.
        action: permission needed on the object; None for everybody who sees the page.
    """

    key: str
    label: str
    template: str
    context: Callable[[Any], Mapping[str, Any]] | None = None
    count: Callable[[Any], int] | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class TabLink:
    """A tab as the strip shows it."""

    label: str
    address: str
    current: bool
    count: int | None


class DetailPage(ObjectPage):
    """An object with its tabs, its actions and the panels that other apps add.

    Attributes:
        tabs: without any, `template_name` shows everything in its `body` block.
        panels: name under which other apps register panels for this page; "" for none.
        status: `(object) -> (adjective, reason)`, shown beside the title.
    """

    tabs: ClassVar[Sequence[Tab]] = ()
    panels: ClassVar[str] = ""
    title = "{object}"
    template_name = "generic/detail.html"

    def status(self) -> tuple[str, str] | None:
        """The adjective and reason beside the title; None for things that have no state."""
        return None

    def context(self) -> dict[str, Any]:
        tabs = [tab for tab in self.tabs if tab.action is None or allowed(self.request, tab.action, self.object)]
        current = self._current(tabs)
        values = {
            **super().context(),
            "tab": current,
            "tab_links": self._links(tabs, current) if len(tabs) > 1 else [],
            "panels_on": self.panels,
            "state": self.status(),
        }
        if current is not None and current.context is not None:
            values |= current.context(self)
        return values

    def _current(self, tabs: Sequence[Tab]) -> Tab | None:
        """The tab of the address.

        Raises:
            NotFound: there is no such tab.
        """
        key = self.request.GET.get("tab")
        if not key:
            return tabs[0] if tabs else None
        for tab in tabs:
            if tab.key == key:
                return tab
        raise NotFound("This page has no such tab.")

    def _links(self, tabs: Sequence[Tab], current: Tab | None) -> list[TabLink]:
        return [
            TabLink(
                label=tab.label,
                address=self.request.path + (f"?tab={tab.key}" if tab is not tabs[0] else ""),
                current=tab is current,
                count=tab.count(self.object) if tab.count else None,
            )
            for tab in tabs
        ]
