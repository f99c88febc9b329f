"""A gateway that says what no row can hold fails alone: it must not spoil what others are written down with."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from apps.gateways import client
from apps.gateways.client import GatewayClient, GatewayProblem
from apps.gateways.commands import register_gateway
from apps.gateways.models import Gateway, Placement
from contract.admin_api import Acknowledgement, GatewayState
from contract.kinds import TOMBSTONE_DIGEST
from tests.harness.holes import dripping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from apps.gateways.models import Environment
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited

OUTRAGEOUS: dict[str, Any] = {
    "uptime_s": 1e300,
    "registrations": 2**40,
    "revision": 2**70,
    "boot_id": "b" * 101,
    "gateway_id": "",
    "version": "1.0\x00",
    "capacity": {"max_concurrent": 2**40, "in_flight": 0},
}


@contextmanager
def retelling(process: GatewayProcess, changed: dict[str, Any]) -> Iterator[str]:
    """The address of something that answers as the gateway does, but for some members of its state."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = httpx.get(process.address + self.path, headers={"Authorization": self.headers["Authorization"]})
            spoken = changed if "/state" in self.path else {}
            content = json.dumps({**told.json(), **spoken}).encode()
            self.send_response(told.status_code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("member", OUTRAGEOUS)
def test_a_state_that_no_row_can_hold_is_a_poll_that_was_not_answered_as_agreed(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    reconcile: Callable[..., int],
    member: str,
) -> None:
    process = spawn()
    with retelling(process, {member: OUTRAGEOUS[member]}) as address:
        gateway = register_gateway(
            actor=acme.actor("owner"), environment=development, name="boaster", address=address,
            deploy_token=process.token,
        )  # fmt: skip
        reconcile(rounds=1)
    gateway.refresh_from_db()
    assert gateway.consecutive_failures == 1
    assert "does not speak this version of the admin API" in gateway.status_reason
    assert member in gateway.status_reason


@pytest.mark.parametrize(
    ("member", "value"), [("kind", "k" * 21), ("name", "n" * 81), ("name", "a\x00b"), ("applied_at", "x" * 41)]
)
def test_an_item_that_no_row_can_hold_is_none(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    reconcile: Callable[..., int],
    member: str,
    value: str,
) -> None:
    process = spawn()
    item = {
        "kind": "workflow", "name": "greeter-development", "generation": 1, "digest": TOMBSTONE_DIGEST,
        "tombstone": True, member: value,
    }  # fmt: skip
    strange = {"items": [item], "state_digest": "sha256:" + "0" * 64}
    with retelling(process, strange) as address:
        register_gateway(
            actor=acme.actor("owner"), environment=development, name="boaster", address=address,
            deploy_token=process.token,
        )  # fmt: skip
        reconcile(rounds=1)
        reconcile(rounds=1)
    assert not Placement.objects.exists()
    assert not Gateway.objects.get().state_digest


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["head", "body", "promises"],
)
def test_who_drips_an_answer_holds_a_thread_for_no_longer_than_who_says_nothing(
    monkeypatch: pytest.MonkeyPatch, head: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 1.0)
    monkeypatch.setattr(client, "CONNECT_S", 0.5)
    outcome: list[GatewayProblem] = []

    def ask(address: str) -> None:
        try:
            GatewayClient(address, "a-token").state()
        except GatewayProblem as problem:
            outcome.append(problem)

    with dripping(head, drop, every_s=0.05) as address:
        asking = threading.Thread(target=ask, args=[address], daemon=True)
        asking.start()
        # Without a deadline for the whole, it would never end.
        asking.join(60)
        assert not asking.is_alive()
    assert [problem.reason for problem in outcome] == ["timed-out"]


def test_what_a_gateway_may_say_fits_the_rows_that_it_is_written_into() -> None:
    def longest(model: type[GatewayState | Acknowledgement], member: str) -> int:
        schema = model.model_json_schema()["properties"][member]
        return int(schema["maxLength"])

    def column(model: type[Gateway | Placement], name: str) -> int:
        return int(model._meta.get_field(name).max_length or 0)

    assert longest(GatewayState, "gateway_id") <= column(Gateway, "gateway_id")
    assert longest(GatewayState, "public_key") <= column(Gateway, "public_key")
    assert longest(GatewayState, "boot_id") <= column(Gateway, "boot_id")
    assert longest(Acknowledgement, "kind") <= column(Placement, "kind")
    assert longest(Acknowledgement, "name") <= column(Placement, "name")
    assert longest(Acknowledgement, "receipt") <= column(Placement, "receipt")
    assert longest(Acknowledgement, "applied_at") <= column(Placement, "receipt_at")
