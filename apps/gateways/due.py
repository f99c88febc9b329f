"""When a tenant next needs the reconciler: one row per tenant in `public`, so that scanning visits no idle schema.

Whoever makes work due lowers the row in the transaction that makes it. Whoever visited the tenant raises it again, but
only if nobody lowered it meanwhile: the version tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.core.commands import at_close
from apps.core.tenancy import current_schema, in_public
from apps.gateways.kinds import overtaking
from apps.gateways.models import Gateway, Placement
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

# Further moments at which a tenant needs a visit, asked inside its schema; rollouts of higher floors soak until theirs.
due_sources: list[Callable[[], datetime | None]] = []
# A scanner that dies in the middle of a visit keeps others out for no longer than this.
VISIT_LEASE_S: float = settings.KAIZEN_PUSH_LEASE_S
_TABLE = "public.tenants_duework"


@dataclass(frozen=True, slots=True)
class Due:
    """A tenant whose turn it is, as `claim` found it.

    Attributes:
        version: of the row at that moment.
    """

    schema: str
    version: int


def lower(moment: datetime | None = None) -> None:
    """See to it that the present tenant is visited at `moment` (default: now) at the latest.

    Inside a command this happens at its very end: the row is shared by all commands of the tenant, and whoever holds
    it must not wait for anything but the head of the log.
    """
    schema = current_schema()
    if in_public():
        return
    at_close(lambda: _lower(schema, moment), key=f"due-work {schema} {moment or ''}")


def _lower(schema: str, moment: datetime | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {_TABLE} AS row (schema_name, due_at, version) VALUES (%s, coalesce(%s, clock_timestamp()), 1)
            ON CONFLICT (schema_name) DO UPDATE SET
                due_at = least(row.due_at, excluded.due_at), version = row.version + 1
            """,  # noqa: S608
            [schema, moment],
        )


def poll_now(gateways: QuerySet[Gateway]) -> None:
    """Let the gateways be polled at the next visit, which is now."""
    gateways.update(next_poll_at=timezone.now())
    lower()


def poll_at(gateways: QuerySet[Gateway], moment: datetime) -> None:
    """Let the gateways be polled at `moment` at the latest."""
    gateways.filter(next_poll_at__gt=moment).update(next_poll_at=moment)
    lower(moment)


def claim(limit: int) -> list[Due]:
    """Take the tenants whose time has come, longest waiting first. One statement, whatever the number of tenants."""
    # Not clock_timestamp(): an index cannot be searched for what changes from row to row.
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {_TABLE} AS row SET due_at = clock_timestamp() + %s * interval '1 second'
            FROM (
                SELECT schema_name, due_at FROM {_TABLE} WHERE due_at <= statement_timestamp()
                ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
            ) AS due
            WHERE row.schema_name = due.schema_name
            RETURNING row.schema_name, row.version, due.due_at
            """,  # noqa: S608
            [VISIT_LEASE_S, limit],
        )
        rows = sorted(cursor.fetchall(), key=lambda row: row[2])
    return [Due(schema, version) for schema, version, _ in rows]


def look(schema: str) -> Due:
    """The row of one tenant, for a visit that does not wait for its turn."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT version FROM {_TABLE} WHERE schema_name = %s", [schema])  # noqa: S608
        row = cursor.fetchone()
    return Due(schema, row[0] if row else 0)


def settle(due: Due, next_at: datetime | None) -> None:
    """Write down when the tenant is due next (None: not), after a visit.

    If somebody lowered the row since the claim, that stands, and `next_at` can only lower it further.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {_TABLE} SET
                due_at = CASE WHEN version = %s THEN %s::timestamptz ELSE least(due_at, %s::timestamptz) END
            WHERE schema_name = %s
            """,  # noqa: S608
            [due.version, next_at, next_at, due.schema],
        )


def forget(schema: str) -> None:
    """Drop the row of a tenant that no longer exists."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {_TABLE} WHERE schema_name = %s", [schema])  # noqa: S608


def sleep_s(longest: float) -> float:
    """Seconds until the next tenant is due, at most `longest`."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT extract(epoch FROM min(due_at) - clock_timestamp()) FROM {_TABLE}")  # noqa: S608
        (seconds,) = cursor.fetchone()
    return longest if seconds is None else min(longest, max(0.0, float(seconds)))


# Whether the gateway `g` has something live that overtakes all else and that it has not confirmed.
OVERTAKEN = f"""EXISTS (
    SELECT FROM {Placement._meta.db_table} AS first
    WHERE first.gateway_id = g.id AND first.priority
        AND (first.observed_generation <> first.desired_generation OR first.observed_digest <> first.desired_digest)
        AND first.kind = ANY(%(overtaking)s) AND first.desired_digest <> %(gone)s
)"""

_EARLIEST = """
    SELECT min(due_at) FROM (
        SELECT next_poll_at AS due_at FROM {gateway}
        UNION ALL
        SELECT greatest(
            p.next_attempt_at, p.lease_until, CASE WHEN NOT p.priority THEN g.circuit_open_until END
        )
        FROM {placement} p JOIN {gateway} g ON g.id = p.gateway_id
        WHERE (p.observed_generation <> p.desired_generation OR p.observed_digest <> p.desired_digest)
            AND g.gateway_id <> '' AND g.status <> 'refused' AND (p.priority OR NOT {overtaken})
    ) AS moments
"""


def earliest() -> datetime | None:
    """The next moment at which the present tenant has something to do."""
    return first_of(at_gateways(), awaited())


def at_gateways() -> datetime | None:
    """The next moment at which a gateway is to be polled or pushed to.

    What waits for a gateway that has not introduced itself, or that is refused, waits for its next poll.
    """
    tables = {"gateway": Gateway._meta.db_table, "placement": Placement._meta.db_table}
    with connection.cursor() as cursor:
        cursor.execute(
            _EARLIEST.format(**tables, overtaken=OVERTAKEN), {"overtaking": overtaking(), "gone": TOMBSTONE_DIGEST}
        )
        (moment,) = cursor.fetchone()
    return cast("datetime | None", moment)


def awaited() -> datetime | None:
    """The next moment that a higher floor waits for."""
    return first_of(*(source() for source in due_sources))


def first_of(*moments: datetime | None) -> datetime | None:
    """The earliest of those that there are."""
    return min((moment for moment in moments if moment is not None), default=None)
