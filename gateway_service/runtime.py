"""Nexus, embedded as registry and runtime; its own HTTP application and MCP listener are never served.

Importing it takes one to three seconds, so it happens in a thread: as soon as there is a workflow to run, and never in
a process that has none.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.release import Release
    from gateway_service.registrations import Registration

_MAX_CONCURRENT_NODES = 512
_THREADS = 16
_QUIET_LOGGERS = ("kailash", "nexus", "kailash_mcp")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Loaded:
    nexus: Any
    build_workflow: Callable[[Release, str], Any]


class NexusRuntime:
    """Runs registrations. Everything but the import happens on the event loop."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[_Loaded] | None = None

    def warm(self) -> None:
        """Begin to import Nexus, if nobody did."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load), name="load-nexus")

    async def run(self, registration: Registration, inputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Run a registration's workflow.

        Args:
            registration: what to run.
            inputs: runtime inputs by node; nothing in them is global to the workflow.

        Returns:
            The outputs of every node.
        """
        loaded = await self._loaded()
        if registration.workflow is None:
            _register(loaded, registration)
        # The run id that kailash returns repeats under load; ours is the execution's.
        results, _ = await loaded.nexus.runtime.execute_workflow_async(registration.workflow, inputs=inputs)
        return dict(results)

    def retire(self, registration: Registration) -> None:
        """Forget a registration whose name was taken or deleted; executions that hold it go on."""
        registration.retired = True
        if registration.workflow is None or self._loading is None or not self._loading.done():
            return
        nexus = self._loading.result().nexus
        nexus.deregister(registration.registration_id)
        # kailash keeps the plan of every workflow id for ever.
        nexus.runtime.analyzer._analysis_cache.pop(registration.registration_id, None)  # noqa: SLF001

    async def close(self) -> None:
        """Give Nexus's threads back."""
        if self._loading is None:
            return
        if not self._loading.done():
            await asyncio.wait({self._loading})
        if self._loading.exception() is None:
            await asyncio.to_thread(self._loading.result().nexus.close)

    async def _loaded(self) -> _Loaded:
        self.warm()
        assert self._loading is not None
        # A caller that leaves must not cancel the import that others wait for.
        return await asyncio.shield(self._loading)


def _register(loaded: _Loaded, registration: Registration) -> None:
    registration.workflow = loaded.build_workflow(registration.release, registration.registration_id)
    if not registration.retired:
        # Under the id, which is unique: Nexus refuses a name twice, and removing it first would leave a gap.
        loaded.nexus.register(registration.registration_id, registration.workflow)


def _load() -> _Loaded:
    for name in _QUIET_LOGGERS:
        # Before the import: kailash logs several lines per request, and values of inputs at debug level.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # It would override the argument below.
    os.environ.pop("NEXUS_SERVER_TYPE", None)
    async_local = importlib.import_module("kailash.runtime.async_local")
    nexus_package = importlib.import_module("nexus")
    graph = importlib.import_module("gateway_service.nodes.graph")
    # Not needed here, but by the nodes: this thread is the place where importing holds up nobody.
    importlib.import_module("aiohttp")
    runtime = async_local.AsyncLocalRuntime(
        max_concurrent_nodes=_MAX_CONCURRENT_NODES, thread_pool_size=_THREADS, execution_timeout=0
    )
    # Durability caches answers by body, across keys; auto-discovery imports files of the working directory.
    nexus = nexus_package.Nexus(
        server_type="basic", enable_durability=False, rate_limit=None, enable_auth=False, auto_discovery=False,
        runtime=runtime,
    )  # fmt: skip
    nexus.start(blocking=False)
    # kailash leaves a million objects; walking them pauses a full collection by about 100 ms.
    gc.collect()
    gc.freeze()
    _log.info("nexus is loaded")
    return _Loaded(nexus, graph.build_workflow)
