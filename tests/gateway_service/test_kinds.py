"""The room that kinds live in: a new one needs its class and nothing else, and a stop needs no node's good will."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import pytest

from contract.admin_api import Channel, ExecutionRecord, PutRequest
from contract.canonical import canonical_json
from contract.document import Document
from contract.envelope import Envelope, generate_private_key
from contract.kinds import STOP, TOMBSTONE_DIGEST, WORKFLOW, Kind
from contract.names import canary_name, check_slug
from contract.stops import Stop
from gateway_service.admin.placing import Placing
from gateway_service.execution.call import CALL
from gateway_service.execution.engine import Engine, Invocation
from gateway_service.execution.executor import Plan
from gateway_service.execution.running import Execution, RunningExecutions
from gateway_service.identity import load_identity
from gateway_service.kinds import GatewayKind, Stops, Workflows
from gateway_service.limits.admission import Admission
from gateway_service.limits.sqlite_ledger import SqliteLedger
from gateway_service.live_state import LiveState
from gateway_service.models.client import ModelClient
from gateway_service.models.messages import Message
from gateway_service.registrations import Registration
from gateway_service.runtime import NexusRuntime
from gateway_service.stopped import StoppedError
from gateway_service.store.execution_log import ExecutionLog
from gateway_service.store.placements import Incoming, PlacementStore
from gateway_service.store.session_memory import Conversation, SessionName
from gateway_service.store.sqlite_sessions import SqliteSessions
from gateway_service.trust import Trust
from tests.harness.gateway import AGENT, agent_release

if TYPE_CHECKING:
    from collections.abc import Mapping


class Motd(Document):
    """A kind's payload that the product does not have."""

    text: str


class Motds(GatewayKind[Motd, str]):
    """All messages of the day, in one line."""

    kind = Kind("motd", "motds", "motd", Motd, check_slug)

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[str | None, str | None]] = []
        self.read_by_all = asyncio.Event()

    def view(self, things: Mapping[str, Motd]) -> str:
        return ", ".join(motd.text for _, motd in sorted(things.items()))

    def replaced(self, before: Motd | None, after: Motd | None) -> None:
        self.changes.append((before and before.text, after and after.text))

    async def in_force(self, _: Motd) -> None:
        await self.read_by_all.wait()


class Folder:
    """A gateway's folder with kinds of the test's own."""

    def __init__(self, folder: Path, *kinds: GatewayKind[Any, Any]) -> None:
        self.organization = generate_private_key()
        self.identity = load_identity(folder)
        self.trust = Trust(self.identity.gateway_id, (self.organization.public_key(),))
        self.store = PlacementStore(folder, self.trust.vouches_for)
        self.kinds = MappingProxyType({kind.kind.name: kind for kind in kinds})
        self.live = LiveState(self.store, self.kinds, identity=self.identity, trust=self.trust)
        self.state = self.live.current

    def push(self, kind: Kind, name: str, payload: Document | None, generation: int = 1) -> None:
        digest = TOMBSTONE_DIGEST if payload is None else payload.digest
        envelope = Envelope(self.identity.gateway_id, kind.name, name, generation, digest)
        content = None if payload is None else payload.canonical
        self.store.apply(
            Incoming(kind.name, name, generation, digest, content, envelope.sign(self.organization))
        )  # fmt: skip


async def _no_model(*_: Any) -> Any:
    raise AssertionError("no model may be asked")


def test_a_new_kind_needs_its_class_and_nothing_else(tmp_path: Path) -> None:
    motds = Motds()
    folder = Folder(tmp_path, motds)
    assert folder.live.current().view(Motds) == ""
    for name, text in (("b", "world"), ("a", "hello")):
        folder.push(Motds.kind, name, Motd(text=text))
    snapshot = folder.live.current()
    assert snapshot.view(Motds) == "hello, world"
    folder.push(Motds.kind, "b", None, 2)
    assert folder.live.current().view(Motds) == "hello"
    assert snapshot.view(Motds) == "hello, world", "a request sees one state from its beginning to its end"
    assert motds.changes == [(None, "world"), (None, "hello"), ("world", None)]
    items = folder.live.current().items
    assert {key: item.tombstone for key, item in items.items()} == {("motd", "a"): False, ("motd", "b"): True}


async def test_an_acknowledgement_waits_until_the_kind_is_in_force(tmp_path: Path) -> None:
    motds = Motds()
    folder = Folder(tmp_path, motds)
    request = PutRequest.signed(
        Motds.kind, "a", Motd(text="hello"), gateway=folder.identity.gateway_id, generation=1, key=folder.organization
    )
    body = canonical_json(request.body(Motds.kind))
    # All of a gateway that placing asks for is in the folder.
    placing = Placing(cast("Any", folder))
    first, again = (asyncio.create_task(placing.put(Motds.kind, "a", body)) for _ in range(2))
    await asyncio.wait({first, again}, timeout=0.5)
    assert folder.live.current().view(Motds) == "hello", "it is served"
    assert not first.done(), "but has not its whole effect yet"
    assert not again.done(), "neither for who comes twice"
    motds.read_by_all.set()
    assert {(await first).outcome, (await again).outcome} == {"applied", "same"}


def test_a_kind_of_another_version_is_left_out_and_disturbs_nobody(tmp_path: Path) -> None:
    folder = Folder(tmp_path, Motds())
    folder.push(WORKFLOW, AGENT, agent_release())
    folder.push(Motds.kind, "a", Motd(text="hello"))
    snapshot = folder.live.current()
    assert snapshot.view(Motds) == "hello"
    assert list(snapshot.items) == [("motd", "a")]
    assert "does not know its kind" in snapshot.unreadable["workflow", AGENT]
    assert not snapshot.blocked


async def test_a_stop_cancels_what_runs_whatever_becomes_of_the_changes_that_it_came_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    running = RunningExecutions()

    class Failing(Motds):
        def replaced(self, before: Motd | None, after: Motd | None) -> None:
            super().replaced(before, after)
            told.append("stop" if execution.stopped else "motd")
            raise OSError("the disk is full")

    execution = Execution(Registration.placed(AGENT, "a-registration", agent_release()), _no_model, None)
    folder = Folder(tmp_path, failing := Failing(), Stops(running))
    async with execution.limit:
        running.add(execution)
        folder.push(Motds.kind, "a", Motd(text="hello"))
        folder.push(STOP, "5709a11ed0", Stop(registrations=[AGENT]))
        folder.push(Motds.kind, "b", Motd(text="world"))
        snapshot = folder.live.current()
        assert execution.stopped
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1)
        asyncio.current_task().uncancel()  # type: ignore[union-attr]
    running.discard(execution)
    assert snapshot.view(Motds) == "hello, world"
    assert [after for _, after in failing.changes] == ["hello", "world"]
    assert told == ["stop", "stop"], "stops come first"
    assert len(caplog.records) == 2


def test_a_release_under_two_names_is_parsed_once(tmp_path: Path) -> None:
    retired: list[Registration] = []
    kind = Workflows({"default"}, check_tools=lambda _: None, warm=lambda: None, retire=retired.append)
    folder = Folder(tmp_path, kind)
    release = agent_release()
    folder.push(WORKFLOW, canary_name(AGENT), release)
    canary = folder.live.current().view(Workflows).canaries[AGENT]
    folder.push(WORKFLOW, AGENT, release)
    registrations = folder.live.current().view(Workflows)
    assert registrations.releases[AGENT].release is registrations.canaries[AGENT].release
    assert (registrations.releases[AGENT].canary, canary.canary) == (False, True)
    folder.push(WORKFLOW, canary_name(AGENT), None, 2)
    assert folder.live.current().view(Workflows).canaries == {}
    assert retired == [canary]


async def test_a_node_that_swallows_its_cancellation_cannot_hold_up_a_stop() -> None:
    said: list[str] = []

    async def emit(text: str) -> None:
        said.append(text)

    running = RunningExecutions()
    execution = Execution(Registration.placed(AGENT, "a-registration", agent_release()), _no_model, emit)
    freed = asyncio.Event()

    async def stubborn() -> None:
        async with execution.limit:
            running.add(execution)
            await execution.emit("before")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await freed.wait()
            with pytest.raises(StoppedError):
                await execution.emit("after")
            with pytest.raises(StoppedError):
                await execution.chat(None, None)  # type: ignore[arg-type]
        running.discard(execution)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    stop = Stop(registrations=[AGENT])
    running.stop(stop)
    await running.ended(stop)
    assert not task.done(), "the receipt does not wait for it"
    assert len(running) == 1, "it is counted as long as it runs"
    freed.set()
    await task
    assert said == ["before"]
    assert len(running) == 0


class Unmeasured:
    """Metrics of a test's own process, which has no Prometheus."""

    def observe(self, *_: Any, **__: Any) -> None:
        """Count nothing."""


class Stubborn(NexusRuntime):
    """Its only node swallows its cancellation and answers all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def plan(self, registration: Registration) -> Plan:
        workflow = registration.release.workflow
        return Plan.of(workflow, {node.id: self for node in workflow.nodes})

    async def async_run(self, **inputs: Any) -> dict[str, Any]:
        self.begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        inputs[CALL].exchange = [Message("user", "Hi"), Message("assistant", "You said: Hi")]
        return {"text": "You said: Hi"}


async def test_what_a_stopped_node_answers_is_not_remembered(tmp_path: Path) -> None:
    running, memory, runtime = RunningExecutions(), SqliteSessions(tmp_path, kept_s=60), Stubborn()
    log = ExecutionLog(tmp_path, keep=10)
    models = ModelClient({}, cast("Any", Unmeasured()))
    limits = Admission(SqliteLedger(tmp_path), limits_of=lambda _: None, prices={})
    engine = Engine(
        runtime=runtime, models=models, tools=cast("Any", None), memory=memory, log=log,
        metrics=cast("Any", Unmeasured()), running=running,
        check_may_run=lambda _: None, limits=limits, prices={}, max_concurrent=1,
    )  # fmt: skip
    registration = Registration.placed(AGENT, "a-registration", agent_release(memory=True))
    invocation = Invocation(registration, {"message": "Hi"}, "a-key", Channel.API, session_id="s")
    task = asyncio.create_task(engine.run(invocation))
    await runtime.begun.wait()
    running.stop(Stop(registrations=[AGENT]))
    with pytest.raises(StoppedError):
        await task
    (node,) = registration.memory_nodes
    assert await memory.recall(Conversation(SessionName("a-key", AGENT, "s"), node)) == []
    assert [record.error_code for record in log.page(0, 10).items if isinstance(record, ExecutionRecord)] == ["stopped"]
    await models.close()
    await limits.close()
    log.close()
    await memory.close()
