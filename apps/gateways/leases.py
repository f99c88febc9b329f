"""Leases: short, so that a dead process costs little, and renewed by living ones for what takes longer.

Nothing is correct because of a renewal. Whoever loses a lease has its result discarded by the fence, and the gateway
takes the same push twice as one; a renewal only saves the second push.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from apps.core.errors import NotFound, NotReady
from apps.core.tenancy import current_schema, tenant
from apps.gateways.client import ANSWER_S, CONNECT_S
from apps.gateways.models import Gateway, Placement

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence

log = structlog.get_logger(__name__)

LEASE_S: float = settings.KAIZEN_PUSH_LEASE_S
LEASE = timedelta(seconds=LEASE_S)
# Longer than any push or poll takes by its own time-outs: a thread that hangs for other reasons keeps nothing for ever.
_RENEWED_FOR_S = 2 * (CONNECT_S + ANSWER_S)

# The clock of all leases is the database's. Rows that somebody has locked are being changed, and then left alone.
_RENEW_PUSHES = f"""
    UPDATE {Placement._meta.db_table} AS row SET lease_until = statement_timestamp() + %(lease)s
    FROM (
        SELECT p.id FROM {Placement._meta.db_table} AS p
        JOIN unnest(%(keys)s::uuid[], %(stamps)s::bigint[]) AS mine(id, fence)
            ON p.id = mine.id AND p.fence = mine.fence
        WHERE p.lease_until IS NOT NULL FOR NO KEY UPDATE OF p SKIP LOCKED
    ) AS kept WHERE row.id = kept.id
"""  # noqa: S608
_RENEW_POLLS = f"""
    UPDATE {Gateway._meta.db_table} AS row SET next_poll_at = statement_timestamp() + %(lease)s
    FROM (
        SELECT g.id FROM {Gateway._meta.db_table} AS g
        JOIN unnest(%(keys)s::uuid[], %(stamps)s::timestamptz[]) AS mine(id, until)
            ON g.id = mine.id AND g.next_poll_at = mine.until
        FOR NO KEY UPDATE OF g SKIP LOCKED
    ) AS kept WHERE row.id = kept.id RETURNING row.id, row.next_poll_at
"""  # noqa: S608


@dataclass(eq=False, slots=True)
class _Held:
    """Something that this process is at.

    Attributes:
        stamp: what the row must still carry for it to be ours: the fence of a placement, the `next_poll_at` of a
            gateway.
        since: when it was taken, monotonic.
    """

    schema: str
    key: uuid.UUID
    stamp: int | datetime
    since: float


class Leases:
    """What this process is at, and the thread that renews it. The thread starts with the first thing that is kept."""

    def __init__(self) -> None:
        self._begin()
        # A process that is forked off has neither the thread nor what its parent was at.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._held: set[_Held] = set()
        self._changed = threading.Condition()
        self._started = False

    @contextmanager
    def kept(self, key: uuid.UUID, stamp: int | datetime) -> Iterator[None]:
        """Renew the lease of a claimed placement (by its fence) or poll (by its time) as long as the block runs."""
        held = _Held(current_schema(), key, stamp, time.monotonic())
        with self._changed:
            self._held.add(held)
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="leases", daemon=True).start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(held)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held:
                    self._changed.wait()
            time.sleep(LEASE_S / 3)
            for schema, held in self._to_renew().items():
                _renew(schema, held)

    def _to_renew(self) -> dict[str, list[_Held]]:
        """By tenant, what was taken a while ago; most pushes are done before."""
        now = time.monotonic()
        by_schema: defaultdict[str, list[_Held]] = defaultdict(list)
        with self._changed:
            for held in self._held:
                if LEASE_S / 4 < now - held.since < _RENEWED_FOR_S:
                    by_schema[held.schema].append(held)
        return by_schema


def _renew(schema: str, held: Sequence[_Held]) -> None:
    """Renew leases of one tenant, as far as they are still ours. A database that is away lets them run out."""
    pushes = [each for each in held if isinstance(each.stamp, int)]
    polls = [each for each in held if isinstance(each.stamp, datetime)]
    try:
        with tenant(schema), connection.cursor() as cursor:
            if pushes:
                cursor.execute(_RENEW_PUSHES, _values(pushes))
            if polls:
                cursor.execute(_RENEW_POLLS, _values(polls))
                renewed = dict(cursor.fetchall())
                for each in polls:
                    each.stamp = renewed.get(each.key, each.stamp)
    except (DatabaseError, InterfaceError, NotFound, NotReady) as error:
        log.warning("leases_not_renewed", schema=schema, count=len(held), reason=type(error).__name__)
    finally:
        # Rarely needed: the connection is better with those that push.
        connection.close()


def _values(held: Sequence[_Held]) -> dict[str, Any]:
    return {"lease": LEASE, "keys": [each.key for each in held], "stamps": [each.stamp for each in held]}


leases = Leases()
