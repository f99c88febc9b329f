"""Running the nodes of a registration: planned once, and then nothing but awaiting them.

kailash's runtime says what a workflow means, and a property test holds the two together over generated graphs. It is
not what runs here, since its bookkeeping caps a process at two to three thousand executions a second: a fingerprint of
the graph with each run, a lock per node, metrics that nobody reads.

There is one difference on purpose: a node starts as soon as all that flows into it is there, and does not wait for
strangers that stand on the same level of the graph.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from gateway_service.execution.call import CALL
from gateway_service.execution.trace import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from contract.release import Workflow
    from gateway_service.execution.call import Call

    Outputs = dict[str, Any]
    Results = dict[str, Outputs]
    Spawn = Callable[[Coroutine[Any, Any, Outputs]], asyncio.Task[Outputs]]


class RunsAsync(Protocol):
    """A kailash `AsyncNode`, as far as it is needed here."""

    async def async_run(self, **inputs: Any) -> Outputs:
        """Do the node's work once."""
        ...


@dataclass(frozen=True, slots=True)
class Wire:
    """Where one input of a node comes from."""

    name: str
    source: str
    output: str


@dataclass(frozen=True, slots=True)
class Step:
    """One node, and what has to be known to run it.

    Attributes:
        wires: the inputs that other nodes provide. What the caller provides is in the node's `Call`.
        sources: how many nodes must have ended before.
        followers: the nodes that wait for this one.
    """

    node_id: str
    node: RunsAsync
    wires: tuple[Wire, ...]
    sources: int
    followers: tuple[str, ...]

    async def run(self, call: Call, results: Results) -> Outputs:
        """Run the node on what the nodes before it have answered."""
        connected = {wire.name: results[wire.source][wire.output] for wire in self.wires}
        call.began = time.perf_counter()
        try:
            return await self.node.async_run(**connected, **{CALL: call})
        except BaseException as error:
            call.failure = failure_of(error)
            raise
        finally:
            call.ended = time.perf_counter()


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow, ready to be run any number of times.

    Attributes:
        steps: in topological order, by node.
        chain: whether each node but the first waits for the one before it, so that there is never a choice.
    """

    steps: Mapping[str, Step]
    chain: bool

    @classmethod
    def of(cls, workflow: Workflow, nodes: Mapping[str, RunsAsync]) -> Plan:
        """Plan a checked workflow, whose graph has no cycle.

        Args:
            workflow: the graph.
            nodes: the instance that runs as each of its nodes.
        """
        wires: defaultdict[str, list[Wire]] = defaultdict(list)
        sources: dict[str, set[str]] = {node.id: set() for node in workflow.nodes}
        followers: defaultdict[str, set[str]] = defaultdict(set)
        for connection in workflow.connections:
            wires[connection.to_node].append(Wire(connection.to_input, connection.from_node, connection.from_output))
            sources[connection.to_node].add(connection.from_node)
            followers[connection.from_node].add(connection.to_node)
        order = list(TopologicalSorter(sources).static_order())
        steps = {
            node_id: Step(
                node_id, nodes[node_id], tuple(wires[node_id]), len(sources[node_id]), tuple(sorted(followers[node_id]))
            )
            for node_id in order
        }
        chain = all(before in sources[after] for before, after in pairwise(order))
        return cls(steps, chain)

    async def run(self, calls: Mapping[str, Call], spawn: Spawn) -> Results:
        """Run every node once, those that do not depend on each other at the same time.

        Args:
            calls: each node's share of the execution.
            spawn: starts a task that ends with the execution, whatever happens to the others.

        Returns:
            The outputs of every node.

        Raises:
            Exception: the first that any node raised, as soon as it did. What else runs is left to `spawn`'s owner.
        """
        if self.chain:
            return await self._one_by_one(calls)
        return await _Run(self.steps, calls, spawn).to_its_end()

    async def _one_by_one(self, calls: Mapping[str, Call]) -> Results:
        """Most releases are one agent, or a chain: these need no tasks."""
        results: Results = {}
        for node_id, step in self.steps.items():
            results[node_id] = await step.run(calls[node_id], results)
        return results


class _Run:
    """One execution of a graph that branches."""

    def __init__(self, steps: Mapping[str, Step], calls: Mapping[str, Call], spawn: Spawn) -> None:
        self._steps = steps
        self._calls = calls
        self._spawn = spawn
        self._results: Results = {}
        self._awaited = {node_id: step.sources for node_id, step in steps.items()}
        self._running: dict[asyncio.Task[Outputs], Step] = {}

    async def to_its_end(self) -> Results:
        for step in self._steps.values():
            if not step.sources:
                self._start(step)
        try:
            while self._running:
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                self._take(done)
        except asyncio.CancelledError:
            # The execution counts as running until its nodes have ended, also those that swallow their cancellation.
            await _cancelled(self._running)
            raise
        return self._results

    def _take(self, done: set[asyncio.Task[Outputs]]) -> None:
        for task in done:
            step = self._running.pop(task)
            self._results[step.node_id] = task.result()
            for follower in step.followers:
                self._awaited[follower] -= 1
                if not self._awaited[follower]:
                    self._start(self._steps[follower])

    def _start(self, step: Step) -> None:
        task = self._spawn(step.run(self._calls[step.node_id], self._results))
        self._running[task] = step


async def _cancelled(tasks: Mapping[asyncio.Task[Outputs], Step]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
