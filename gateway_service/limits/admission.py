"""Keeps keys within their limits: reserves before an execution begins, settles when it has ended."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from contract.caller_keys import TOKENS, KeyLimits
from contract.errors import ErrorCode
from gateway_service.errors import GatewayError
from gateway_service.limits.answers import headers_of, refusal, standings_of
from gateway_service.limits.ledger import Correction, LedgerUnavailable, Wish
from gateway_service.limits.quotas import Demand, quotas_of
from gateway_service.limits.spending import Spending, expected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from gateway_service.execution.engine import Invocation
    from gateway_service.limits.ledger import Finding, Ledger
    from gateway_service.limits.quotas import Quota
    from gateway_service.limits.spending import Chat, Expenses
    from gateway_service.prices import Price

_LEASE_S = 15.0
"""For how long executions of a process that has died still count as running."""

_RENEW_EVERY_S = 4.0
_UNAVAILABLE_RETRY_S = 2
_NO_LIMITS = KeyLimits()

_log = logging.getLogger(__name__)


class Reservation:
    """What was set aside for one execution. This one is of a key without limits: nothing."""

    headers: Mapping[str, str] = {}

    def metered(self, chat: Chat) -> Chat:
        """Ask models through this."""
        return chat

    async def settle(self, *, begun: bool = True) -> None:
        """The execution is over, or (not `begun`) was refused after all."""


_NOTHING = Reservation()


class Admission:
    """The limits of all keys, kept through one ledger. Used on one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        limits_of: Callable[[str], KeyLimits | None],
        prices: Mapping[str, Price],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep limits.

        Args:
            ledger: counts.
            limits_of: the present limits of a key, by its id; None for a key that is gone.
            prices: of the model profiles that have one.
            clock: seconds since 1970.
        """
        self._ledger = ledger
        self._limits_of = limits_of
        self._prices = prices
        self._clock = clock
        self._running: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()

    async def reserve(self, invocation: Invocation) -> Reservation:
        """Set aside what an execution may spend.

        Raises:
            GatewayError: a limit of its key is reached, or it cannot be told whether.
        """
        limits = self._limits_of(invocation.key_id)
        # Most keys have none, and a comparison of two models costs more than the rest of their way through here.
        if limits is None or not limits.model_fields_set or limits == _NO_LIMITS:
            return _NOTHING
        now = self._clock()
        expenses = expected(invocation.registration, invocation.inputs, invocation.history)
        quotas = quotas_of(limits, self._demand(limits, expenses), now)
        wish = Wish(invocation.key_id, invocation.execution_id, quotas, limits.concurrent, now, now + _LEASE_S)
        finding = await self._asked(wish)
        standings = standings_of(wish, finding)
        if not finding.granted:
            raise refusal(standings, running=finding.running)
        self._running[wish.execution_id] = wish.key_id
        self._keep_renewing()
        return _Reserved(self, limits, wish, finding, headers_of(standings))

    async def close(self) -> None:
        """Settle what is under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        if self._settling:
            await asyncio.wait(self._settling)

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def cost(self, limits: KeyLimits, expenses: Expenses) -> Demand:
        """What expenses are in tokens, and in the money of the key's budget."""
        tokens = sum(usage.input_tokens + usage.output_tokens for usage in expenses.values())
        if limits.budget is None or limits.budget.unit == TOKENS:
            return Demand(tokens)
        prices = [(self._prices.get(profile), usage) for profile, usage in expenses.items()]
        return Demand(tokens, sum(price.micro(usage) for price, usage in prices if price is not None))

    async def settle(self, wish: Wish, corrections: list[Correction]) -> None:
        """Correct the counts, also if whoever waits for it is cancelled."""
        self._running.pop(wish.execution_id, None)
        await self._finish(self._settle(wish, corrections))

    async def _settle(self, wish: Wish, corrections: list[Correction]) -> None:
        try:
            await self._ledger.settle(wish.key_id, wish.execution_id, corrections)
        except LedgerUnavailable as error:
            # What was reserved stays counted, and the lease runs out: the key can use less than it might, never more.
            _log.error("the limits of key %s could not be settled: %s", wish.key_id, error)

    async def _asked(self, wish: Wish) -> Finding:
        asking = asyncio.ensure_future(self._ledger.reserve(wish))
        try:
            return await asyncio.shield(asking)
        except LedgerUnavailable as error:
            _log.error("limits cannot be counted: %s", error)
            raise GatewayError(
                ErrorCode.NOT_READY,
                "the gateway cannot count what keys with limits use; try again soon",
                retry_after_s=_UNAVAILABLE_RETRY_S,
            ) from None
        except asyncio.CancelledError:
            # The caller left while the ledger was counting; what it grants must be given back.
            self._spawn(self._undo(wish, asking))
            raise

    async def _undo(self, wish: Wish, asking: asyncio.Future[Finding]) -> None:
        try:
            finding = await asking
        except LedgerUnavailable:
            return
        if finding.granted:
            await self._settle(wish, _undone(wish, finding))

    def _demand(self, limits: KeyLimits, expenses: Expenses) -> Demand:
        if limits.budget is not None and limits.budget.unit != TOKENS:
            for profile in expenses:
                price = self._prices.get(profile)
                if price is None or price.currency != limits.budget.unit:
                    raise GatewayError(
                        ErrorCode.UNPRICED,
                        f"the key has a budget in {limits.budget.unit}, and the model profile {profile!r} has no "
                        "price in it on this gateway",
                    )
        return self.cost(limits, expenses)

    def _keep_renewing(self) -> None:
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name="renew-leases")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            if not self._running:
                continue
            try:
                await self._ledger.renew(dict(self._running), self._clock() + _LEASE_S)
            except LedgerUnavailable as error:
                _log.error("the leases of running executions could not be renewed: %s", error)

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.shield(self._spawn(work))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task


class _Reserved(Reservation):
    """What was set aside for an execution of a key with limits."""

    def __init__(
        self, admission: Admission, limits: KeyLimits, wish: Wish, finding: Finding, headers: Mapping[str, str]
    ) -> None:
        self.headers = headers
        self._admission = admission
        self._limits = limits
        self._wish = wish
        self._finding = finding
        self._spending = Spending()

    def metered(self, chat: Chat) -> Chat:
        return self._spending.metered(chat)

    async def settle(self, *, begun: bool = True) -> None:
        corrections = self._corrections() if begun else _undone(self._wish, self._finding)
        await self._admission.settle(self._wish, corrections)

    def _corrections(self) -> list[Correction]:
        """What was really spent, in place of what was set aside."""
        spent = self._admission.cost(self._limits, self._spending.expenses)
        now = quotas_of(self._limits, spent, self._admission.now())
        corrections = []
        for (quota, share), present in zip(_shares(self._wish, self._finding), now, strict=True):
            if quota.policy == "requests":
                continue
            # A sliding window counts tokens when they are spent, not when their execution began: that may be long ago.
            slot = present.slot if quota.resets_at is None else quota.slot
            corrections.append(Correction(quota.meter, quota.slot, -share))
            corrections.append(Correction(quota.meter, slot, present.demand))
        return corrections


def _undone(wish: Wish, finding: Finding) -> list[Correction]:
    """Take everything back that was set aside."""
    return [Correction(quota.meter, quota.slot, -share) for quota, share in _shares(wish, finding)]


def _shares(wish: Wish, finding: Finding) -> list[tuple[Quota, int]]:
    """What was set aside of each quota."""
    return [(quota, quota.share(spent)) for quota, spent in zip(wish.quotas, finding.spent, strict=True)]
