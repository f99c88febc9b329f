"""Tabler icons as inline SVG, from the subset that `scripts/vendor` put under `static/vendor/icons/`."""

from __future__ import annotations

import json
from functools import cache

from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe


class UnknownIcon(Exception):
    """A template or page names an icon that is not vendored; `scripts/vendor --icon NAME` fetches it."""


@cache
def drawings() -> dict[str, str]:
    """The inner markup of every vendored icon, by name."""
    path = settings.BASE_DIR / "static" / "vendor" / "icons" / "icons.json"
    loaded: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@cache
def icon(name: str, size: str = "", extra_class: str = "") -> SafeString:
    """One icon as an SVG element that screen readers skip. `size` is "", "sm" or "lg".

    Raises:
        UnknownIcon: the icon is not vendored.
    """
    if name not in drawings():
        raise UnknownIcon(f"There is no icon “{name}”. Add it with: scripts/vendor --icon {name}")
    classes = " ".join(filter(None, ["icon", f"icon-{size}" if size else "", extra_class]))
    filled = name.endswith("-filled")
    return format_html(
        '<svg class="{}" viewBox="0 0 24 24" width="24" height="24" fill="{}" stroke="{}" stroke-linecap="round" '
        'stroke-linejoin="round" aria-hidden="true" focusable="false">{}</svg>',
        classes,
        "currentColor" if filled else "none",
        "none" if filled else "currentColor",
        mark_safe(drawings()[name]),  # noqa: S308  vendored, and checked against its manifest
    )
