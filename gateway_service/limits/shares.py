"""Who may run when the gateway is full: a fair share for each key."""

from __future__ import annotations

from collections import Counter

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError

_RETRY_S = 1
_SPARE_PART = 8


class Shares:
    """The places of one process.

    As long as there are places, every key may have any number of them. When they are taken, some more (an eighth) are
    given to keys that have fewer than their equal share, and whoever has more than that waits until there are free
    places again. So a key that came first, or asks most, neither keeps the others out nor needs to be held back
    while nobody else asks.

    Attributes:
        places: executions at once, for whoever comes.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._spare = -(-places // _SPARE_PART)
        self._taken: Counter[str] = Counter()
        self._total = 0

    def take(self, key_id: str) -> None:
        """A place for an execution of a key.

        Raises:
            GatewayError: there is none, or none for this key.
        """
        if self._total >= self.places and not self._is_short(key_id):
            raise GatewayError(ErrorCode.OVERLOADED, "the gateway runs as much as it may", retry_after_s=_RETRY_S)
        self._taken[key_id] += 1
        self._total += 1

    def give_back(self, key_id: str) -> None:
        """An execution is over."""
        self._total -= 1
        self._taken[key_id] -= 1
        if not self._taken[key_id]:
            del self._taken[key_id]

    def _is_short(self, key_id: str) -> bool:
        """Whether a spare place is left, and the key has fewer than each would have if all had the same."""
        keys = len(self._taken.keys() | {key_id})
        return self._total < self.places + self._spare and self._taken[key_id] < self.places // keys
