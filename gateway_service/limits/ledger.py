"""Who counts: a ledger of what keys have spent, shared by all processes that shall count together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway_service.limits.quotas import Quota


class LedgerUnavailable(Exception):
    """The ledger cannot be asked now. Nothing may run that has a limit."""


@dataclass(frozen=True)
class Wish:
    """An execution that wants to begin.

    Attributes:
        execution_id: under which it is counted among those that run.
        concurrent: how many of the key may run at once; None for any number.
        until: when it counts as dead, unless its lease is renewed.
    """

    key_id: str
    execution_id: str
    quotas: tuple[Quota, ...]
    concurrent: int | None
    now: float
    until: float

    def fits(self, running: int, spent: Sequence[Mapping[int, int]]) -> bool:
        """Whether it may begin, beside others of its key that run, after what was spent of each quota."""
        if self.concurrent is not None and running >= self.concurrent:
            return False
        return all(quota.left(counted) > 0 for quota, counted in zip(self.quotas, spent, strict=True))


@dataclass(frozen=True)
class Finding:
    """What the ledger says to a wish. If it was granted, its demands are counted from now on.

    Attributes:
        running: executions of the key that run, without this one.
        spent: for each quota, what was counted before this one, by slot.
    """

    granted: bool
    running: int
    spent: tuple[Mapping[int, int], ...]


@dataclass(frozen=True)
class Correction:
    """What has to be added to a count (or, negative, taken away) now that it is known what was really spent."""

    meter: str
    slot: int
    amount: int


class Ledger(Protocol):
    """Counts atomically. Every method raises `LedgerUnavailable` if it cannot count."""

    async def reserve(self, wish: Wish) -> Finding:
        """Look, decide and count in one step."""
        ...

    async def settle(self, key_id: str, execution_id: str, corrections: Sequence[Correction]) -> None:
        """An execution is over: correct the counts."""
        ...

    async def renew(self, key_ids: Mapping[str, str], until: float) -> None:
        """Executions (with their keys) still run: extend their leases."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...
