"""The pulse of each registration: a day in 24 strokes, small enough for a cell of a table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import Q, Sum
from django.utils import timezone
from django.utils.html import format_html

from apps.core.ports import ports
from apps.telemetry.models import ERRORS, ExecutionRollup, Resolution
from apps.telemetry.words import count_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.utils.safestring import SafeString

    from apps.core.actors import Actor

HOURS = 24
_STROKE_PX, _HEIGHT_PX = 3, 18


@dataclass(frozen=True, slots=True)
class Pulse:
    """Executions of one registration in the last 24 hours.

    Attributes:
        hours: executions and how many of them were errors, by hour, oldest first; the last hour is still filling.
    """

    hours: Sequence[tuple[int, int]]

    @property
    def executions(self) -> int:
        return sum(executions for executions, _ in self.hours)

    @property
    def errors(self) -> int:
        return sum(errors for _, errors in self.hours)

    @property
    def words(self) -> str:
        """`1,234 executions in 24 hours, 3 errors`."""
        runs = f"{self.executions:,} execution{'' if self.executions == 1 else 's'} in 24 hours"
        return (
            f"{runs}, {self.errors:,} error{'' if self.errors == 1 else 's'}" if self.errors else f"{runs}, no errors"
        )

    @property
    def short(self) -> str:
        """The number of executions, as short as it gets."""
        return count_words(self.executions)

    @property
    def drawing(self) -> SafeString:
        """The strokes as SVG: errors at the foot, the rest upon them."""
        most = max((executions for executions, _ in self.hours), default=0)
        if not most:
            return format_html("")
        heights = [(self._height(errors, most), self._height(executions, most)) for executions, errors in self.hours]
        return format_html(
            '<svg class="pulse" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
            '<path class="pulse-all" d="{3}"/><path class="pulse-errors" d="{4}"/></svg>',
            HOURS * _STROKE_PX,
            _HEIGHT_PX,
            self.words,
            _strokes(whole for _, whole in heights),
            _strokes(errors for errors, _ in heights),
        )

    @staticmethod
    def _height(count: int, most: int) -> int:
        """Anything that happened is seen, however little beside the most."""
        return max(2, round(_HEIGHT_PX * count / most)) if count else 0


def _strokes(heights: Iterable[int]) -> str:
    middle = _STROKE_PX / 2
    return "".join(
        f"M{at * _STROKE_PX + middle:g} {_HEIGHT_PX}v-{height}" for at, height in enumerate(heights) if height
    )


def pulses(actor: Actor, now: datetime | None = None) -> dict[str, Pulse]:
    """The pulse of every registration that ran in the last 24 hours and that the actor may see. One query."""
    last = (now or timezone.now()).replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(hours=HOURS - 1)
    rollups = ExecutionRollup.objects.filter(resolution=Resolution.HOUR, start__gte=first, start__lte=last)
    rows = (
        ports.visible(rollups, actor, "execution.view")
        .values_list("registration", "start")
        .annotate(all=Sum("executions"), errors=Sum("executions", filter=Q(status__in=ERRORS), default=0))
    )
    hours: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)] * HOURS)
    for registration, start, executions, errors in rows:
        hours[registration][(start - first) // timedelta(hours=1)] = (int(executions), int(errors))
    return {registration: Pulse(each) for registration, each in hours.items()}
