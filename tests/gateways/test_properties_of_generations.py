"""The rules of generations, told by a real gateway, against a model of a dozen lines. Whatever is sent, in any order.

`KAIZEN_PROPERTY_EXAMPLES=500` searches longer, and elsewhere each time.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contract.admin_api import PREFIX, SIGNATURE_HEADER, Acknowledgement, tombstone_signature
from contract.caller_keys import CallerKey, KeyText, new_key_id
from contract.envelope import Receipt, generate_private_key, public_key_from_text
from contract.generations import Stamp, Verdict, judge
from contract.kinds import API_KEY, TOMBSTONE_DIGEST, WORKFLOW, Kind
from tests.gateways.test_reconciling import call
from tests.harness.gateway import GatewayProcess, Studio, agent_release, wait_until
from tests.harness.properties import searching

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from contract.document import Document

GENERATIONS = st.integers(min_value=1, max_value=6)
NEVER_PLACED = Stamp(0, "")


@dataclass
class Thing:
    """Something that can be placed, with contents to choose from, and what the gateway should hold of it."""

    kind: Kind
    name: str
    contents: list[Document]
    secrets: list[KeyText] = field(default_factory=list)
    held: Stamp = NEVER_PLACED

    @classmethod
    def key(cls) -> Thing:
        name = new_key_id()
        secrets = [KeyText.generate(name) for _ in range(3)]
        return cls(API_KEY, name, [CallerKey.parse({"hash": each.hash, "scopes": ["*"]}) for each in secrets], secrets)

    @classmethod
    def workflow(cls) -> Thing:
        slug = f"agent-{new_key_id()[:8]}"
        releases = [agent_release(slug, version=number, instructions=f"Say {number}.") for number in (1, 2, 3)]
        return cls(WORKFLOW, f"{slug}-test", list(releases))

    def digest(self, content: int | None) -> str:
        return TOMBSTONE_DIGEST if content is None else self.contents[content].digest


@dataclass(frozen=True)
class Sent:
    """An envelope that was on the wire once; whoever recorded it can send it again."""

    thing: Thing
    stamp: Stamp
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def raw(self, token: str) -> bytes:
        """The bytes of the request."""
        length = str(len(self.body))
        headers = {"Host": "gateway", "Authorization": f"Bearer {token}", "Content-Length": length, **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class Generations(RuleBasedStateMachine):
    """One gateway, two things, and everything that a network and a crash can do to envelopes."""

    process: GatewayProcess
    studio: Studio

    def __init__(self) -> None:
        super().__init__()
        self.things: list[Thing] = []
        self.sent: list[Sent] = []
        self.crashes = 0

    @initialize()
    def take_fresh_names(self) -> None:
        self.things = [Thing.key(), Thing.workflow()]

    @rule(index=st.integers(0, 1), generation=GENERATIONS, content=st.sampled_from([0, 1, 2, None]))
    def push(self, index: int, generation: int, content: int | None) -> None:
        self._deliver(self._envelope(self.things[index], generation, content))

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(min_value=0))
    def replay(self, choice: int) -> None:
        self._deliver(self.sent[choice % len(self.sent)])

    @precondition(lambda self: self.crashes == 0)
    @rule(index=st.integers(0, 1), generation=GENERATIONS, content=st.sampled_from([0, 1, None]))
    def kill_it_between_store_and_answer(self, index: int, generation: int, content: int | None) -> None:
        sent = self._envelope(self.things[index], generation, content)
        self.crashes += 1
        with socket.create_connection(("127.0.0.1", self.process.port)) as connection:
            connection.sendall(sent.raw(self.process.token))
            if self._verdict(sent) is Verdict.APPLY:
                wait_until(lambda: self._on_disk(sent.thing) == sent.stamp)
                sent.thing.held = sent.stamp
            self.process.kill()
        self.process.start()

    @rule(index=st.integers(0, 1), generation=GENERATIONS, content=st.sampled_from([0, 1]))
    def a_stranger_pushes(self, index: int, generation: int, content: int) -> None:
        thing = self.things[index]
        request = self.studio.request(
            thing.kind, thing.name, thing.contents[content], generation, generate_private_key()
        )
        answer = self.studio.send(thing.kind, thing.name, request.body(thing.kind))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invalid_signature")

    @precondition(lambda self: self.sent)
    @rule(choice=st.integers(min_value=0))
    def an_envelope_comes_under_another_generation(self, choice: int) -> None:
        sent = self.sent[choice % len(self.sent)]
        if sent.method == "DELETE":
            number = sent.stamp.generation
            answer = self._request(sent.method, sent.path.replace(f"={number}", f"={number + 7}"), sent.headers, b"")
        else:
            body = {**json.loads(sent.body), "generation": sent.stamp.generation + 7}
            answer = self._request(sent.method, sent.path, sent.headers, json.dumps(body).encode())
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "invalid_signature")

    @invariant()
    def it_says_what_the_model_holds(self) -> None:
        said = {
            (item["kind"], item["name"]): Stamp(item["generation"], item["digest"])
            for item in self.studio.state(items=True)["items"]
        }
        for thing in self.things:
            assert said.get((thing.kind.name, thing.name), NEVER_PLACED) == thing.held

    @invariant()
    def it_serves_what_it_says(self) -> None:
        for thing in self.things:
            for content, secret in enumerate(thing.secrets):
                expected = 200 if thing.held.digest == thing.digest(content) else 401
                assert call(self.process, secret.text) == expected

    def _envelope(self, thing: Thing, generation: int, content: int | None) -> Sent:
        stamp = Stamp(generation, thing.digest(content))
        path = f"{PREFIX}/{thing.kind.segment}/{thing.name}"
        if content is None:
            signature = tombstone_signature(
                thing.kind, thing.name, gateway=self.studio.gateway_id, generation=generation,
                key=self.process.organization_key,
            )  # fmt: skip
            sent = Sent(thing, stamp, "DELETE", f"{path}?generation={generation}", {SIGNATURE_HEADER: signature}, b"")
        else:
            request = self.studio.request(thing.kind, thing.name, thing.contents[content], generation)
            body = json.dumps(request.body(thing.kind)).encode()
            sent = Sent(thing, stamp, "PUT", path, {"Content-Type": "application/json"}, body)
        self.sent.append(sent)
        return sent

    def _verdict(self, sent: Sent) -> Verdict:
        held = sent.thing.held
        return judge(None if held is NEVER_PLACED else held, sent.stamp)

    def _deliver(self, sent: Sent) -> None:
        """Send it, and compare the answer with the rules: the whole of them stands here once more."""
        held, answer = sent.thing.held, self._request(sent.method, sent.path, sent.headers, sent.body)
        if sent.stamp.generation > held.generation:
            sent.thing.held, outcome = sent.stamp, "applied"
        elif sent.stamp == held:
            outcome = "same"
        elif sent.stamp.generation == held.generation:
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
            return
        else:
            outcome = "stale"
        assert answer.status_code == 200, answer.text
        told = Acknowledgement.model_validate_json(answer.content)
        assert (told.outcome, told.generation, told.digest) == (outcome, *sent.thing.held)
        self._check_receipt(told)

    def _check_receipt(self, told: Acknowledgement) -> None:
        receipt = Receipt(self.studio.gateway_id, told.kind, told.name, told.generation, told.digest, told.applied_at)
        assert receipt.verify(public_key_from_text(self.studio.state()["public_key"]), told.receipt)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        return self.studio.http.request(method, path, headers=headers, content=body)

    def _on_disk(self, thing: Thing) -> Stamp | None:
        """What is committed to the gateway's file, read past the gateway."""
        with sqlite3.connect(f"file:{self.process.data_dir / 'store.sqlite'}?mode=ro", uri=True) as store:
            query = "SELECT generation, digest FROM placement WHERE kind = ? AND name = ?"
            row = store.execute(query, (thing.kind.name, thing.name)).fetchone()
        return Stamp(*row) if row else None


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), "http://127.0.0.1:9/v1").start()
    yield process
    process.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gateway_keeps_the_rules_of_generations_whatever_comes(gateway: GatewayProcess) -> None:
    members: dict[str, Any] = {"process": gateway, "studio": gateway.admin()}
    run_state_machine_as_test(type("GenerationsOfIt", (Generations,), members), settings=searching(12, steps=14))
