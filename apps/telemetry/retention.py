"""How long executions and their sums are kept, and the removal of what is older."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from apps.telemetry.models import Execution, ExecutionRollup, Resolution

if TYPE_CHECKING:
    from django.db.models import QuerySet

MINUTES_KEPT = timedelta(days=3)
HOURS_KEPT = timedelta(days=400)
# Small enough that a batch holds its locks only for a moment.
_BATCH = 5_000


def prune(now: datetime | None = None) -> int:
    """Remove from the present tenant what is older than it is kept. Returns the number of rows."""
    now = now or timezone.now()
    old = [
        Execution.objects.filter(started_at__lt=now - timedelta(days=settings.KAIZEN_EXECUTION_RETENTION_DAYS)),
        ExecutionRollup.objects.filter(resolution=Resolution.MINUTE, start__lt=now - MINUTES_KEPT),
        ExecutionRollup.objects.filter(resolution=Resolution.HOUR, start__lt=now - HOURS_KEPT),
    ]
    return sum(_remove(queryset) for queryset in old)


def _remove(queryset: QuerySet[Any]) -> int:
    """Delete in batches, each in a transaction of its own."""
    removed = 0
    while True:
        batch: QuerySet[Any] = queryset.model.objects.filter(pk__in=queryset.order_by().values("pk")[:_BATCH])
        count, _ = batch.delete()
        removed += count
        if count < _BATCH:
            return removed
