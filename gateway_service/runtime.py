"""Nexus, embedded as the registry of what runs here; its own HTTP application and MCP listener are never served.

The nodes are kailash's; `execution/executor.py` runs them.

Importing it takes one to three seconds, so it happens in a thread: as soon as there is a workflow to run, and never in
a process that has none.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway_service.execution.executor import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.release import Release
    from gateway_service.registrations import Registration

_KEEP_BUILT = 1_024
_MAX_CONCURRENT_NODES = 512
_THREADS = 16
_QUIET_LOGGERS = ("kailash", "nexus", "kailash_mcp")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Loaded:
    nexus: Any
    build_nodes: Callable[[Release], dict[str, Any]]
    build_workflow: Callable[[Release, str, dict[str, Any]], Any]


class NexusRuntime:
    """Makes registrations executable. Everything but the import happens on the event loop.

    What was executed lately stays built, and is known to Nexus; of thousands of registrations, most are seldom called.
    """

    def __init__(self, *, keep: int = _KEEP_BUILT) -> None:
        """Nothing is loaded yet.

        Args:
            keep: how many registrations stay built.
        """
        self._keep = keep
        self._built: OrderedDict[str, Registration] = OrderedDict()
        self._loading: asyncio.Task[_Loaded] | None = None

    def warm(self) -> None:
        """Begin to import Nexus, if nobody did."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load), name="load-nexus")

    async def plan(self, registration: Registration) -> Plan:
        """How to execute a registration."""
        if registration.plan is None:
            loaded = await self._loaded()
            # Another execution may have built it meanwhile.
            return registration.plan or self._build(loaded, registration)
        if not registration.retired:
            self._built.move_to_end(registration.registration_id)
        return registration.plan

    def retire(self, registration: Registration) -> None:
        """Forget a registration whose name was taken or deleted; executions that hold it go on."""
        registration.retired = True
        if self._built.pop(registration.registration_id, None) is not None:
            self._nexus.deregister(registration.registration_id)

    async def close(self) -> None:
        """Give Nexus's threads back."""
        if self._loading is None:
            return
        if not self._loading.done():
            await asyncio.wait({self._loading})
        if self._loading.exception() is None:
            await asyncio.to_thread(self._loading.result().nexus.close)

    @property
    def _nexus(self) -> Any:
        assert self._loading is not None
        return self._loading.result().nexus

    def _build(self, loaded: _Loaded, registration: Registration) -> Plan:
        release, registration_id = registration.release, registration.registration_id
        nodes = loaded.build_nodes(release)
        if not registration.retired:
            # Under the id, which is unique: Nexus refuses a name twice, and removing it first would leave a gap.
            loaded.nexus.register(registration_id, loaded.build_workflow(release, registration_id, nodes))
            self._built[registration_id] = registration
            self._forget_the_least_used()
        registration.plan = Plan.of(release.workflow, nodes)
        return registration.plan

    def _forget_the_least_used(self) -> None:
        while len(self._built) > self._keep:
            registration_id, registration = self._built.popitem(last=False)
            registration.plan = None
            self._nexus.deregister(registration_id)

    async def _loaded(self) -> _Loaded:
        self.warm()
        assert self._loading is not None
        # A caller that leaves must not cancel the import that others wait for.
        return await asyncio.shield(self._loading)


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
    return _Loaded(nexus, graph.build_nodes, graph.build_workflow)
