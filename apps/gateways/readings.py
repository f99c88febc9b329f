"""The history of a gateway, a row a minute."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

from apps.gateways.models import Gateway, GatewayReading
from apps.gateways.models.gateways import minute_of

# Worst last, so that a minute keeps the worst that it saw.
_SEVERITY = ("pending", "healthy", "draining", "degraded", "unreachable", "refused")


def write_reading(gateway: Gateway, moment: datetime, *, latency_ms: float | None) -> None:
    """Add one poll to the minute that it fell into. `latency_ms` None means that it was not answered as agreed."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {GatewayReading._meta.db_table} AS kept
                (gateway_id, minute, status, in_flight, latency_ms, polls, failures)
            VALUES (%(gateway)s, %(minute)s, %(status)s, %(in_flight)s, %(latency)s, 1, %(failures)s)
            ON CONFLICT (gateway_id, minute) DO UPDATE SET
                status = CASE WHEN array_position(%(order)s::text[], excluded.status::text)
                    > array_position(%(order)s::text[], kept.status::text) THEN excluded.status ELSE kept.status END,
                in_flight = greatest(kept.in_flight, excluded.in_flight),
                latency_ms = greatest(kept.latency_ms, excluded.latency_ms),
                polls = kept.polls + 1, failures = kept.failures + excluded.failures
            """,  # noqa: S608
            {
                "gateway": gateway.pk,
                "minute": minute_of(moment),
                "status": gateway.status,
                "in_flight": gateway.in_flight if latency_ms is not None else 0,
                "latency": latency_ms,
                "failures": 0 if latency_ms is not None else 1,
                "order": list(_SEVERITY),
            },
        )


def prune_readings() -> int:
    """Delete readings of the present tenant that are older than they are kept.

    Returns:
        How many.
    """
    before = timezone.now() - timedelta(days=GatewayReading.KEPT_DAYS)
    deleted, _ = GatewayReading.objects.filter(minute__lt=before).delete()
    return deleted
