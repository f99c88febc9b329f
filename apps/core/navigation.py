"""The sidebar and the user menu: pages enter themselves by decorator, with the permission that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from apps.core.permissions import allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    from apps.core.pages.base import Page

Section = Literal["", "Build", "Run", "Govern", "Account"]
SECTIONS: tuple[Section, ...] = ("", "Build", "Run", "Govern")
ACCOUNT: Section = "Account"

P = TypeVar("P", bound="type[Page]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the navigation.

    Attributes:
        url: URL name; an entry whose name does not exist on the present host is left out.
        action: permission to read the page; None for every member.
        shortcut: the letter after `g` that leads there, or "".
    """

    label: str
    icon: str
    section: Section
    order: int
    url: str
    action: str | None
    shortcut: str


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as the present actor sees it on the present page."""

    entry: Entry
    address: str
    current: bool


_entries: dict[str, Entry] = {}


def entry(
    label: str, *, icon: str, url: str, section: Section = "", order: int = 100, shortcut: str = ""
) -> Callable[[P], P]:
    """Enter a page into the navigation; `section="Account"` means the user menu."""

    def register(page: P) -> P:
        taken = next((each for each in _entries.values() if shortcut and each.shortcut == shortcut), None)
        if taken is not None and taken.url != url:
            raise ImproperlyConfigured(f"{label}: the shortcut “g {shortcut}” belongs to {taken.label}.")
        _entries[url] = Entry(label, icon, section, order, url, page.action, shortcut)
        return page

    return register


def links(request: HttpRequest, section: Section) -> list[Link]:
    """The links of a section that exist on this host and that the actor may follow."""
    found: list[Link] = []
    for each in sorted(_entries.values(), key=lambda each: (each.order, each.label)):
        if each.section != section:
            continue
        try:
            address = reverse(each.url, urlconf=getattr(request, "urlconf", None))
        except NoReverseMatch:
            continue
        if each.action is None or allowed(request, each.action):
            found.append(Link(each, address, current=_is_current(request.path, address)))
    return found


def _is_current(path: str, address: str) -> bool:
    return path == address or (address != "/" and path.startswith(address))
