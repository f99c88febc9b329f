"""Group commit: threads that have something to write at the same moment share one transaction.

The first of them writes; what the others bring meanwhile is written next, together. Alone, nobody waits for anybody.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from apps.core.tenancy import current_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")
# So that nobody waits for a transaction without end, and none holds very many locks.
_MOST_TOGETHER = 64
_AFTER_AT_LEAST_EVERY_S = 0.5


class GroupCommit(Generic[T, R]):
    """One queue per tenant in front of a function that writes several things in one transaction.

    Args:
        write: gets what is to be written, in the tenant's schema and with no transaction open; returns as many outcomes
            in the same order. What it raises is raised to everyone whose thing was among them.
        after: called when something was written and nothing waits, and now and then while much is; raises nothing.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], Sequence[R]], *, after: Callable[[], None] = lambda: None
    ) -> None:
        self._write = write
        self._after = after
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[tuple[T, Future[R]]]] = defaultdict(list)
        self._writing: set[str] = set()

    def __call__(self, thing: T) -> R:
        """Write a thing of the present tenant, and return when it is written."""
        schema, outcome = current_schema(), Future[R]()
        with self._lock:
            self._waiting[schema].append((thing, outcome))
            leads = schema not in self._writing
            self._writing.add(schema)
        if leads:
            self._write_all(schema)
        return outcome.result()

    def _write_all(self, schema: str) -> None:
        try:
            self._write_groups(schema)
        except BaseException as error:
            self._abandon(schema, error)
            raise

    def _write_groups(self, schema: str) -> None:
        followed_up = time.monotonic()
        while group := self._next_group(schema):
            self._write_group(group)
            if not self._waiting[schema] or time.monotonic() - followed_up > _AFTER_AT_LEAST_EVERY_S:
                self._after()
                followed_up = time.monotonic()

    def _write_group(self, group: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            outcomes = self._write([thing for thing, _ in group])
        except BaseException as error:
            for _, outcome in group:
                outcome.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, outcome), written in zip(group, outcomes, strict=True):
                outcome.set_result(written)

    def _next_group(self, schema: str) -> list[tuple[T, Future[R]]]:
        """What waits, in the order in which it came; if nothing does, the next to come leads."""
        with self._lock:
            waiting = self._waiting[schema]
            group, waiting[:] = waiting[:_MOST_TOGETHER], waiting[_MOST_TOGETHER:]
            if not group:
                del self._waiting[schema]
                self._writing.discard(schema)
            return group

    def _abandon(self, schema: str, error: BaseException) -> None:
        """Whoever led does not come back: the next to come leads, and those that wait are told."""
        with self._lock:
            left = self._waiting.pop(schema, [])
            self._writing.discard(schema)
        for _, outcome in left:
            outcome.set_exception(error)
