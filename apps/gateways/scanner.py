"""Finding due work and doing it: one pass over the tenants that have some, jobs in threads, nothing held while waiting.

Any number of scanners and Celery workers may run. They share nothing but the database, where claims keep them apart.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections, connection, connections, transaction
from django.utils import timezone

from apps.core.database import let_go
from apps.core.errors import NotFound
from apps.core.tenancy import tenant
from apps.gateways import due, observers
from apps.gateways.models import Gateway, Placement
from apps.gateways.polling import claim_polls, finish_leaving, poll
from apps.gateways.reconcile import (
    FALTERING,
    ORDINARY,
    URGENT,
    URGENT_FALTERING,
    Claim,
    Errand,
    Lane,
    claim,
    deliver,
    prepare,
)

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

LaneName = Literal["urgent", "push", "faltering", "poll"]
# Revocations, ordinary pushes, gateways that fail and polls have threads of their own: none can use up another's.
# The urgent are the most: gateways that have just begun to hang must not keep a stop from those that work.
LANES: dict[LaneName, int] = {"urgent": 96, "push": 48, "faltering": 32, "poll": 32}
# They wait for gateways and not for the database, and hold no connection to it meanwhile.
CONNECTIONS = 24
_PUSHES: tuple[tuple[LaneName, Lane], ...] = (
    ("urgent", URGENT),
    ("push", ORDINARY),
    ("faltering", URGENT_FALTERING),
    ("faltering", FALTERING),
)
# Of each lane, so much is left to the other tenants however much one of them has to do.
LARGEST_SHARE = 0.5
LONGEST_SLEEP_S = 0.5
_TENANTS_A_PASS = 50
_RETRY_DATABASE_S = 1.0
_BROKEN_TENANT = timedelta(seconds=15)
_LOOK_AGAIN = timedelta(seconds=0.2)
_TOLD_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """A push or a poll in one tenant. Whoever holds it has claimed it."""

    schema: str
    lane: LaneName
    work: Errand | Gateway

    def run(self) -> None:
        with tenant(self.schema):
            if isinstance(self.work, Errand):
                deliver(self.work)
            else:
                poll(self.work)


def visit(turn: due.Due, free: dict[LaneName, int], *, tell: bool = True) -> list[Job]:
    """Claim what is due in one tenant, as far as there are threads for it, and write down when to come again.

    Args:
        tell: whether higher floors look at what they are at, also if nothing that they wait for has come.
    """
    with tenant(turn.schema):
        with transaction.atomic():
            unsettled, leaving = _more_than_polls()
            claims = _claim_pushes(free) if unsettled else []
            polls = claim_polls(free["poll"])
        errands = prepare([claimed for _, claimed in claims])
        if leaving:
            finish_leaving()
        waited_for = _waited_for(tell=tell)
        again = due.first_of(due.at_gateways(), waited_for)
        if again is not None and not claims and not polls:
            # What is due and could not be claimed waits for a thread, or for a push to the same gateway.
            again = max(again, timezone.now() + _LOOK_AGAIN)
        due.settle(turn, again)
    lanes = {claimed: name for name, claimed in claims}
    return [
        *(Job(turn.schema, lanes[errand.claimed], errand) for errand in errands),
        *(Job(turn.schema, "poll", gateway) for gateway in polls),
    ]


_MORE_THAN_POLLS = f"""
    SELECT EXISTS (
        SELECT FROM {Placement._meta.db_table}
        WHERE observed_generation <> desired_generation OR observed_digest <> desired_digest
    ), EXISTS (SELECT FROM {Gateway._meta.db_table} WHERE leaving_at IS NOT NULL)
"""  # noqa: S608


def _more_than_polls() -> tuple[bool, bool]:
    """Whether anything in the tenant is to be pushed, and whether any gateway is leaving. One cheap question."""
    with connection.cursor() as cursor:
        cursor.execute(_MORE_THAN_POLLS)
        unsettled, leaving = cursor.fetchone()
    return unsettled, leaving


def _waited_for(*, tell: bool) -> datetime | None:
    """Let higher floors look if they are to, or if what they wait for has come; returns what they wait for next."""
    if not tell:
        moment = due.awaited()
        if moment is None or moment > timezone.now():
            return moment
    observers.changed()
    return due.awaited()


def _claim_pushes(free: dict[LaneName, int]) -> list[tuple[LaneName, Claim]]:
    claims: list[tuple[LaneName, Claim]] = []
    for name, lane in _PUSHES:
        taken = sum(each == name for each, _ in claims)
        claims += [(name, each) for each in claim(lane, limit=free[name] - taken)]
    return claims


def reconcile_tenant(schema: str, *, for_s: float = 20.0, rounds: int | None = None) -> int:
    """Do what is due in one tenant, in this thread, until nothing is or the time is over.

    Args:
        rounds: at most this many visits.

    Returns:
        How many pushes and polls were done.
    """
    done, end = 0, time.monotonic() + for_s
    while time.monotonic() < end and rounds != 0:
        try:
            jobs = visit(due.look(schema), dict.fromkeys(LANES, 8))
        except NotFound:
            break
        for job in jobs:
            job.run()
        done += len(jobs)
        rounds = rounds - 1 if rounds is not None else None
        if not jobs:
            break
    return done


class Scanner:
    """The process that makes sure: it polls the due-work table and works through what it finds.

    `run` returns when `stop` is called; jobs that are under way are finished first.
    """

    def __init__(self, lanes: dict[LaneName, int] | None = None) -> None:
        self._sizes = dict(lanes or LANES)
        self._busy: dict[LaneName, Counter[str]] = {lane: Counter() for lane in self._sizes}
        self._told: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads = {
            lane: ThreadPoolExecutor(size, thread_name_prefix=f"scan-{lane}") for lane, size in self._sizes.items()
        }

    def run(self) -> None:
        """Scan until stopped. A database that is away is waited for."""
        while not self._stopping.is_set():
            try:
                close_old_connections()
                started = self.scan()
                pause = 0.0 if started else self._pause()
            except (OperationalError, InterfaceError) as error:
                log.warning("database_unavailable", reason=type(error).__name__)
                connection.close()
                pause = _RETRY_DATABASE_S
            let_go()
            self._wake.wait(pause)
            self._wake.clear()
        self.close()

    def stop(self) -> None:
        """End `run` soon. May be called from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def close(self) -> None:
        """Wait for the jobs that are under way; their own time-outs bound this."""
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
        connections.close_all()

    @property
    def busy(self) -> int:
        """How many jobs are under way."""
        with self._lock:
            return sum(sum(busy.values()) for busy in self._busy.values())

    def scan(self) -> int:
        """One pass: claim what is due, hand it to the threads.

        Returns:
            How many jobs were started.
        """
        turns = due.claim(_TENANTS_A_PASS)
        started = 0
        for index, turn in enumerate(turns):
            jobs = self._visit(turn, among=len(turns) - index)
            for job in jobs:
                self._start(job)
            started += len(jobs)
        return started

    def _visit(self, turn: due.Due, *, among: int) -> list[Job]:
        """Visit a tenant; one that is gone or broken keeps nobody from the others."""
        try:
            return visit(turn, self._share(turn.schema, among=among), tell=self._tells(turn))
        except NotFound:
            due.forget(turn.schema)
            self._told.pop(turn.schema, None)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # whatever is wrong with one schema, such as a migration that is missing
            log.exception("visit_failed", schema=turn.schema)
            due.settle(turn, timezone.now() + _BROKEN_TENANT)
        return []

    def reconcile(self, schema: str, *, for_s: float = 20.0, linger_s: float = 2.0) -> int:
        """Do what is due in one tenant, without waiting for its turn.

        Args:
            for_s: claim nothing more after this time.
            linger_s: how long to wait for jobs under way, whose end may make more due. What takes longer, such as a
                gateway that hangs, is left to its thread.

        Returns:
            How many jobs were started.
        """
        started, end = 0, time.monotonic() + for_s
        leave_at = time.monotonic() + linger_s
        while time.monotonic() < end:
            turn = due.look(schema)
            jobs = visit(turn, self._share(schema, among=1), tell=self._tells(turn))
            for job in jobs:
                self._start(job)
            started += len(jobs)
            if jobs:
                leave_at = time.monotonic() + linger_s
            elif not self._is_at(schema) or time.monotonic() > leave_at:
                break
            let_go()
            self._wake.wait(0.2)
            self._wake.clear()
        return started

    def _tells(self, turn: due.Due) -> bool:
        """Whether a visit is for more than polls: somebody made work due, or nobody has looked for a while.

        A tenant whose gateways are polled is visited twice a second; higher floors rarely have something to look at.
        """
        version, told_at = self._told.get(turn.schema, (-1, 0.0))
        now = time.monotonic()
        if version == turn.version and now - told_at < _TOLD_AGAIN_S:
            return False
        self._told[turn.schema] = (turn.version, now)
        return True

    def _is_at(self, schema: str) -> bool:
        """Whether jobs of a tenant are under way."""
        with self._lock:
            return any(busy[schema] for busy in self._busy.values())

    def _share(self, schema: str, *, among: int) -> dict[LaneName, int]:
        """Free threads for one tenant: its part of what is free now, and never more than its part of the whole lane."""
        with self._lock:
            share: dict[LaneName, int] = {}
            for lane, size in self._sizes.items():
                free = size - sum(self._busy[lane].values())
                own = self._largest_share(lane) - self._busy[lane][schema]
                share[lane] = max(0, min(own, -(-free // among)))
            return share

    def _largest_share(self, lane: LaneName) -> int:
        return max(1, int(self._sizes[lane] * LARGEST_SHARE))

    def _start(self, job: Job) -> None:
        with self._lock:
            self._busy[job.lane][job.schema] += 1
        self._threads[job.lane].submit(partial(self._work, job))

    def _work(self, job: Job) -> None:
        try:
            _guarded(job.run)
        finally:
            if self._leave(job):
                self._wake.set()

    def _leave(self, job: Job) -> bool:
        """Give the thread of a job back.

        Returns:
            Whether it is time to look for more: for each single job, a visit would cost more than the job.
        """
        with self._lock:
            busy = self._busy[job.lane]
            busy[job.schema] -= 1
            left = busy[job.schema]
            if not left:
                del busy[job.schema]
            return left == self._largest_share(job.lane) // 2 or (not left and job.lane != "poll")

    def _pause(self) -> float:
        # Never zero: work that is due but cannot be claimed (all its leases are out) must not make this loop spin.
        return max(0.05, due.sleep_s(LONGEST_SLEEP_S))


def _guarded(run: Callable[[], None]) -> None:
    """Run a job in a thread of its own. What it leaves undone, its lease gives back to somebody."""
    close_old_connections()
    try:
        run()
    except (OperationalError, InterfaceError) as error:
        log.warning("database_unavailable", reason=type(error).__name__)
        connection.close()
    except NotFound:
        log.info("tenant_gone")
    except Exception:  # the end of a thread: nobody above could tell
        log.exception("job_failed")
        connection.close()
    finally:
        # An idle thread must not keep what a busy one needs.
        let_go()
