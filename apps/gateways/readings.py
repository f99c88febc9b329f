"""The history of a gateway, a row a minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import connection
from django.utils import timezone

from apps.gateways.models import Gateway, GatewayReading
from apps.gateways.models.gateways import minute_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

# Worst last, so that a minute keeps the worst that it saw.
_SEVERITY = ("pending", "healthy", "draining", "degraded", "unreachable", "refused")


@dataclass(frozen=True, slots=True)
class Reading:
    """One poll, as it goes into the history.

    Attributes:
        latency_ms: None means that it was not answered as agreed.
    """

    gateway: UUID
    minute: datetime
    status: str
    in_flight: int
    latency_ms: float | None

    @classmethod
    def of(cls, gateway: Gateway, moment: datetime, *, latency_ms: float | None) -> Self:
        """A poll that was made at `moment` and is written into the gateway's row already."""
        in_flight = gateway.in_flight if latency_ms is not None else 0
        return cls(gateway.pk, minute_of(moment), gateway.status, in_flight, latency_ms)


_ADD = f"""
    INSERT INTO {GatewayReading._meta.db_table} AS kept
        (gateway_id, minute, status, in_flight, latency_ms, polls, failures)
    VALUES (%(gateway)s, %(minute)s, %(status)s, %(in_flight)s, %(latency)s, 1, %(failures)s)
    ON CONFLICT (gateway_id, minute) DO UPDATE SET
        status = CASE WHEN array_position(%(order)s::text[], excluded.status::text)
            > array_position(%(order)s::text[], kept.status::text) THEN excluded.status ELSE kept.status END,
        in_flight = greatest(kept.in_flight, excluded.in_flight),
        latency_ms = greatest(kept.latency_ms, excluded.latency_ms),
        polls = kept.polls + 1, failures = kept.failures + excluded.failures
"""  # noqa: S608


def write_readings(readings: Sequence[Reading]) -> None:
    """Add polls to the minutes that they fell into."""
    if not readings:
        return
    with connection.cursor() as cursor:
        cursor.executemany(_ADD, [_values(reading) for reading in readings])


def _values(reading: Reading) -> dict[str, Any]:
    return {
        "gateway": reading.gateway,
        "minute": reading.minute,
        "status": reading.status,
        "in_flight": reading.in_flight,
        "latency": reading.latency_ms,
        "failures": 0 if reading.latency_ms is not None else 1,
        "order": list(_SEVERITY),
    }


def prune_readings() -> int:
    """Delete readings of the present tenant that are older than they are kept.

    Returns:
        How many.
    """
    before = timezone.now() - timedelta(days=GatewayReading.KEPT_DAYS)
    deleted, _ = GatewayReading.objects.filter(minute__lt=before).delete()
    return deleted
