"""The spans of time that charts show, and the steps that they are cut into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apps.core.errors import Invalid
from apps.telemetry.models import Resolution

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time that ends now.

    Attributes:
        key: how addresses name it.
        label: how people read it.
        step: length of one point of a chart.
        resolution: the rollups that it is read from; `step` is a multiple of their length.
    """

    key: str
    label: str
    span: timedelta
    step: timedelta
    resolution: Resolution

    def starts(self, now: datetime) -> list[datetime]:
        """The beginning of each step, oldest first. The last one holds `now` and is still filling."""
        step = self.step.total_seconds()
        last = datetime.fromtimestamp(now.timestamp() // step * step, UTC)
        count = round(self.span / self.step)
        return [last - self.step * back for back in range(count - 1, -1, -1)]


HOUR = Window("1h", "Last hour", timedelta(hours=1), timedelta(minutes=1), Resolution.MINUTE)
DAY = Window("24h", "Last 24 hours", timedelta(hours=24), timedelta(minutes=15), Resolution.MINUTE)
WEEK = Window("7d", "Last 7 days", timedelta(days=7), timedelta(hours=2), Resolution.HOUR)
WINDOWS: dict[str, Window] = {window.key: window for window in (HOUR, DAY, WEEK)}


def window_of(key: str) -> Window:
    """The window that an address names.

    Raises:
        Invalid: there is none of that name.
    """
    try:
        return WINDOWS[key]
    except KeyError:
        raise Invalid(fields={"window": [f"“{key[:20]}” is none of {', '.join(WINDOWS)}."]}) from None


def window_in(query: Mapping[str, str]) -> Window:
    """The window of a page's query string, `?window=7d`; a day unless it says otherwise.

    Raises:
        Invalid: there is none of that name.
    """
    return window_of(query["window"]) if query.get("window") else DAY
