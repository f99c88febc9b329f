"""Telling others without waiting for them: hints to the broker and the channel layer, which may be away or hang.

What is offered is delivered by a thread of the process, soon, or not at all. So it is only for hints: whoever depends
on one also looks by himself.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

log = structlog.get_logger(__name__)
T = TypeVar("T", bound="Hashable")
_PAUSE_S = 5.0
_MOST_PENDING = 10_000


class Courier(Generic[T]):
    """Delivers items in a thread of its own.

    An item that waits already is not taken twice: a burst becomes one delivery. After a delivery failed, what waits is
    dropped, and nothing is tried for a few seconds.

    Args:
        name: in logs.
        deliver: may block and may raise.
    """

    def __init__(self, name: str, deliver: Callable[[T], None]) -> None:
        self._name, self._deliver = name, deliver
        self._begin()
        # A process that is forked off has neither the thread nor a usable lock of its parent.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._pending: dict[T, None] = {}
        self._changed = threading.Condition()
        self._quiet_until = 0.0
        self._started = False

    def offer(self, item: T) -> None:
        """Take an item for delivery and return at once."""
        with self._changed:
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name=f"courier-{self._name}", daemon=True).start()
            if len(self._pending) < _MOST_PENDING:
                self._pending[item] = None
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
                items, self._pending = list(self._pending), {}
            for item in items:
                if time.monotonic() < self._quiet_until:
                    break
                self._try(item)

    def _try(self, item: T) -> None:
        try:
            self._deliver(item)
        except Exception as error:  # noqa: BLE001  (libraries of brokers raise what they like; a hint may be lost)
            self._quiet_until = time.monotonic() + _PAUSE_S
            log.warning("hints_lost", courier=self._name, reason=type(error).__name__)
