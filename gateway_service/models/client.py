"""Asks the models of the gateway's profiles: again where that is safe, and others where the operator has named some.

aiohttp would be half of what a start imports, so it is imported here where it is used: the thread that loads Nexus,
without which no node runs, has brought it in before.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway_service.models.failures import ModelFailed
from gateway_service.models.openai_protocol import LINE_MAX_BYTES, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from gateway_service.metrics import Metrics
    from gateway_service.models.messages import Answer, ChatRequest
    from gateway_service.models.openai_protocol import Emit
    from gateway_service.settings import ModelProfile

_CONNECT_TIMEOUT_S = 5.0
_PATIENCE_S = 20.0
"""The longest `Retry-After` that is waited for. A model that wants more time is one that has failed."""


class ModelClient:
    """Asks models. Lives on one event loop."""

    def __init__(self, profiles: Mapping[str, ModelProfile], metrics: Metrics) -> None:
        self._profiles = profiles
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close idle connections."""
        if self._session is not None:
            await self._session.close()

    async def chat(self, request: ChatRequest, emit: Emit | None = None) -> Answer:
        """Ask; with `emit`, hand over the text piece by piece while it arrives.

        A profile that fails before it said anything gives way to its fallbacks, in their order. Those of a fallback
        are not followed: one list says all.

        Raises:
            ModelFailed: no usable answer; of several profiles, the last one's failure.
        """
        first = self._profiles.get(request.profile)
        if first is None:
            raise ModelFailed(f"this gateway has no model profile {request.profile!r}")
        said = _Said(emit)
        failed = first.name
        for profile in (first, *(self._profiles[name] for name in first.fallbacks)):
            if profile is not first:
                self._metrics.fall_back(failed, profile.name)
            try:
                return await self._ask(profile, request, said)
            except ModelFailed as error:
                if said.anything:
                    raise
                failed, failure = profile.name, error
        raise failure

    async def _ask(self, profile: ModelProfile, request: ChatRequest, said: _Said) -> Answer:
        """Ask one profile, as often as it says."""
        if self._session is None:
            self._session = _open_session()
        for attempt in range(profile.retries + 1):
            try:
                answer = await ask(self._session, profile, request, said.emit)
            except ModelFailed as error:
                self._metrics.count_model_call(profile.name, "failed")
                wait_s = _wait_s(error, attempt)
                if wait_s is None or said.anything or attempt == profile.retries:
                    raise
                await asyncio.sleep(wait_s)
            else:
                self._metrics.count_model_call(profile.name, "answered")
                return replace(answer, profile=profile.name)
        raise AssertionError


class _Said:
    """Whether the caller has heard anything yet: from then on there is no way back."""

    def __init__(self, emit: Emit | None) -> None:
        self.anything = False
        self.emit = None if emit is None else self._hand_over
        self._emit = emit

    async def _hand_over(self, text: str) -> None:
        self.anything = True
        assert self._emit is not None
        await self._emit(text)


def _wait_s(error: ModelFailed, attempt: int) -> float | None:
    """How long to wait before asking again; None for never.

    The time doubles, and is blurred, so that what failed together does not come back together.
    """
    if error.again_after_s is None or error.again_after_s > _PATIENCE_S:
        return None
    return error.again_after_s + 0.1 * 2.0**attempt * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)


def _open_session() -> aiohttp.ClientSession:
    import aiohttp

    # No total time-out here: the execution's own ends the call. No cookies: nothing of one call reaches another.
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=LINE_MAX_BYTES,
    )
