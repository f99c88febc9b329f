"""Our executor against kailash's own runtime: the same workflows must mean the same."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kailash.nodes.base_async import AsyncNode
from kailash.runtime.async_local import AsyncLocalRuntime
from kailash.workflow.graph import Workflow as KailashWorkflow

from contract.errors import ErrorCode
from contract.release import Connection, Node, Workflow
from gateway_service.errors import GatewayError
from gateway_service.execution.call import CALL, Call
from gateway_service.execution.executor import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kailash.nodes.base import NodeParameter

_FAILURES = (None, "gateway", "plain")
_OUTPUTS = ("text", "items", "nothing")


class Probe(AsyncNode):  # type: ignore[misc]
    """Answers with all that it was given, after some turns of the event loop, or fails."""

    def __init__(self, node_id: str, *, turns: int, failure: str | None) -> None:
        super().__init__()
        self.node_id, self.turns, self.failure = node_id, turns, failure
        self.runs = 0

    def get_parameters(self) -> dict[str, NodeParameter]:
        return {}

    async def execute_async(self, **inputs: Any) -> dict[str, Any]:
        return await self.async_run(**inputs)

    async def async_run(self, **inputs: Any) -> dict[str, Any]:
        call: Call = inputs.pop(CALL)
        self.runs += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        match self.failure:
            case "gateway":
                raise GatewayError(ErrorCode.MODEL_FAILED, self.node_id)
            case "plain":
                raise ValueError(self.node_id)
        heard = {**call.values, **inputs}
        return {
            "text": f"{self.node_id}({json.dumps(heard, sort_keys=True)})",
            "items": [self.node_id, heard],
            "nothing": None,
        }


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Workflow, dict[str, tuple[int, str | None]], dict[str, dict[str, Any]]]:
    """A checked graph, what each of its nodes does, and what the caller gives to each."""
    ids = draw(st.permutations([f"n{number}" for number in range(draw(st.integers(1, 7)))]))
    connections = []
    for position, target in enumerate(ids):
        for source in ids[:position]:
            for output in draw(st.sets(st.sampled_from(_OUTPUTS), max_size=2)):
                wire = Connection(from_node=source, from_output=output, to_node=target, to_input=f"{source}_{output}")
                connections.append(wire)
    nodes = [Node(id=node_id, type="Probe") for node_id in draw(st.permutations(ids))]
    workflow = Workflow(nodes=nodes, connections=draw(st.permutations(connections)))
    failing = st.one_of(st.none(), st.sampled_from(_FAILURES))
    behaviour = {node_id: (draw(st.integers(0, 3)), draw(failing)) for node_id in ids}
    # `${…}` is what kailash itself would replace; a caller's text must come through untouched.
    text = st.sampled_from(["", "hello", "${n0}", "${result.text}", "{{x}}"])
    values = {node_id: draw(st.dictionaries(st.sampled_from(["message", "result", "n0"]), text)) for node_id in ids}
    return workflow, behaviour, values


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("kailash")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs())
def test_results_and_errors_are_those_of_kailash(graph: Any) -> None:
    workflow, behaviour, values = graph
    ours, our_nodes = asyncio.run(_by_us(workflow, behaviour, values))
    theirs, their_nodes = asyncio.run(_by_kailash(workflow, behaviour, values))
    if isinstance(theirs, dict):
        assert ours == theirs
        assert all(node.runs == 1 for node in (*our_nodes.values(), *their_nodes.values()))
        return
    # Where several nodes fail, which one is heard is a matter of chance on both sides, but it is one that could run.
    assert isinstance(ours, Exception)
    possible = _first_failures(workflow, behaviour)
    for error in (ours, theirs):
        assert (type(error), str(error)) in possible
    assert all(node.runs <= 1 for node in our_nodes.values())
    doomed = _behind(workflow, {message for _, message in possible})
    assert not any(our_nodes[node_id].runs for node_id in doomed)


def test_a_branch_does_not_wait_for_a_stranger_on_its_level() -> None:
    async def story() -> None:
        gate = asyncio.Event()
        order: list[str] = []

        class Waits(Probe):
            async def async_run(self, **inputs: Any) -> dict[str, Any]:
                if self.node_id == "slow":
                    await gate.wait()
                order.append(self.node_id)
                if self.node_id == "second":
                    gate.set()
                return await super().async_run(**inputs)

        workflow = Workflow(
            nodes=[Node(id=node_id, type="Probe") for node_id in ("slow", "first", "second")],
            connections=[Connection(from_node="first", from_output="text", to_node="second", to_input="x")],
        )
        nodes = {node.id: Waits(node.id, turns=0, failure=None) for node in workflow.nodes}
        async with asyncio.timeout(10):
            await Plan.of(workflow, nodes).run(_calls(workflow, {}), asyncio.create_task)
        assert order == ["first", "second", "slow"]

    asyncio.run(story())


def test_a_cancelled_run_ends_when_its_nodes_have_ended() -> None:
    async def story() -> None:
        ended: list[str] = []

        class Tidies(Probe):
            async def async_run(self, **_: Any) -> dict[str, Any]:
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    ended.append(self.node_id)
                raise AssertionError

        workflow = Workflow(nodes=[Node(id=node_id, type="Probe") for node_id in ("a", "b")])
        nodes = {node.id: Tidies(node.id, turns=0, failure=None) for node in workflow.nodes}
        run = asyncio.create_task(Plan.of(workflow, nodes).run(_calls(workflow, {}), asyncio.create_task))
        await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert sorted(ended) == ["a", "b"]

    asyncio.run(story())


async def _by_us(workflow: Workflow, behaviour: Any, values: Any) -> tuple[Any, dict[str, Probe]]:
    nodes = _probes(behaviour)
    tasks: set[asyncio.Task[Any]] = set()

    def spawn(work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.add(task)
        return task

    try:
        return await Plan.of(workflow, nodes).run(_calls(workflow, values), spawn), nodes
    except Exception as error:
        return error, nodes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _by_kailash(workflow: Workflow, behaviour: Any, values: Any) -> tuple[Any, dict[str, Probe]]:
    nodes = _probes(behaviour)
    graph = KailashWorkflow(workflow_id="reference", name="reference")
    for node in workflow.nodes:
        graph.add_node(node.id, nodes[node.id])
    mappings: dict[tuple[str, str], dict[str, str]] = {}
    for wire in workflow.connections:
        mappings.setdefault((wire.from_node, wire.to_node), {})[wire.from_output] = wire.to_input
    for (source, target), mapping in mappings.items():
        graph.connect(source, target, mapping)
    runtime = AsyncLocalRuntime(execution_timeout=0)
    inputs = {node_id: {CALL: call} for node_id, call in _calls(workflow, values).items()}
    try:
        results, _ = await runtime.execute_workflow_async(graph, inputs=inputs)
        return dict(results), nodes
    except Exception as error:
        return _unwrapped(error), nodes
    finally:
        runtime.close()


def _probes(behaviour: dict[str, tuple[int, str | None]]) -> dict[str, Probe]:
    return {node_id: Probe(node_id, turns=turns, failure=fails) for node_id, (turns, fails) in behaviour.items()}


def _calls(workflow: Workflow, values: dict[str, dict[str, Any]]) -> dict[str, Call]:
    async def no_model(*_: Any) -> Any:
        raise AssertionError

    def no_tools(_: Any) -> Any:
        raise AssertionError

    return {
        node.id: Call(values=values.get(node.id, {}), chat=no_model, open_tools=no_tools) for node in workflow.nodes
    }


def _unwrapped(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_failures(workflow: Workflow, behaviour: Any) -> set[tuple[type[Exception], str]]:
    """The errors of the nodes that fail although all before them succeed."""
    failing = {node_id for node_id, (_, failure) in behaviour.items() if failure}
    types = {"gateway": GatewayError, "plain": ValueError}
    return {(types[behaviour[node_id][1]], node_id) for node_id in failing - _behind(workflow, failing)}


def _behind(workflow: Workflow, node_ids: set[str]) -> set[str]:
    """Everything that some of these nodes flow into."""
    behind: set[str] = set()
    edge = set(node_ids)
    while edge:
        edge = {wire.to_node for wire in workflow.connections if wire.from_node in edge} - behind
        behind |= edge
    return behind
