"""Times as people read them: relative in the text, absolute in the title."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.html import format_html

if TYPE_CHECKING:
    from datetime import datetime

    from django.utils.safestring import SafeString

_UNITS = (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3_600), ("minute", 60))


def relative(moment: datetime, now: datetime | None = None) -> str:
    """`3 minutes ago`, `in 2 days`, `just now`; the page's script words it the same way."""
    seconds = (moment - (now or timezone.now())).total_seconds()
    for unit, size in _UNITS:
        if abs(seconds) >= size:
            return _directed(round(abs(seconds) / size), unit, future=seconds > 0)
    if abs(seconds) < 10:
        return "just now"
    return _directed(round(abs(seconds)), "second", future=seconds > 0)


def _directed(count: int, unit: str, *, future: bool) -> str:
    words = f"{count} {unit}" + ("s" if count != 1 else "")
    return f"in {words}" if future else f"{words} ago"


def ago(moment: datetime | None, never: str = "never") -> SafeString:
    """A `<time>` element that the page keeps fresh."""
    if moment is None:
        return format_html('<span class="muted">{}</span>', never)
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        moment.isoformat(),
        f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}",
        relative(moment),
    )
