"""Every route that the URL configuration knows, as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Argument:
    """A variable part of an address.

    Attributes:
        before: the fixed segment right before it, which says what it names: `members/<pk>`.
    """

    before: str
    name: str


@dataclass(frozen=True)
class Route:
    """One address.

    Attributes:
        name: `namespace:name`, or the address where a route has no name.
        template: such as `/members/<pk>/role/`.
    """

    name: str
    template: str

    @property
    def is_api(self) -> bool:
        return self.template.startswith("/api/")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        before, found = "", list[Argument]()
        for segment in self.template.strip("/").split("/"):
            found += [Argument(before, name) for name in re.findall(r"<(\w+)>", segment)]
            before = before if "<" in segment else segment
        return tuple(found)

    def address(self, values: dict[Argument, Any]) -> str:
        address = self.template
        for argument in self.arguments:
            address = address.replace(f"<{argument.name}>", str(values[argument]))
        return address


def routes(urlconf: str) -> list[Route]:
    """Every route of a URL root, without what Django's admin brings along."""
    return sorted(set(_walk(get_resolver(urlconf).url_patterns, "", "")), key=lambda route: route.template)


def _walk(patterns: list[Any], prefix: str, namespace: str) -> Iterator[Route]:
    for entry in patterns:
        regex = prefix + str(entry.pattern.regex.pattern).removeprefix("^")
        if isinstance(entry, URLResolver):
            inner = ":".join(part for part in (namespace, entry.namespace) if part)
            yield from _walk(entry.url_patterns, regex.removesuffix(r"\Z"), inner)
        elif isinstance(entry, URLPattern):
            template = simplify_regex(regex).replace("\\", "")
            name = ":".join(part for part in (namespace, entry.name) if part)
            yield Route(name if entry.name else template, template)
