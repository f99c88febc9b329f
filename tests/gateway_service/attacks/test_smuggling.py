"""Requests whose end two readers see in two places. A proxy in front must never be told another story than its own.

Each attack hides a second request in what one reader takes for the body of the first. It has succeeded when the hidden
one is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway_service.attacks.raw import call_body, exchange, request
from tests.harness.gateway import agent_release

if TYPE_CHECKING:
    from contract.caller_keys import KeyText
    from tests.doubles.model_server import ModelServer
    from tests.harness.gateway import GatewayProcess, Studio

JSON = "Content-Type: application/json"
HIDDEN = b"GET /workflows HTTP/1.1\r\nHost: gateway\r\n\r\n"
CHUNKED_NOTHING = b"0\r\n\r\n"

AMBIGUOUS: dict[str, tuple[list[str], bytes]] = {
    "a length and chunks (CL.TE)": (["Content-Length: 5", "Transfer-Encoding: chunked"], CHUNKED_NOTHING + HIDDEN),
    "chunks and a length (TE.CL)": (["Transfer-Encoding: chunked", "Content-Length: 4"], CHUNKED_NOTHING + HIDDEN),
    "two lengths": (["Content-Length: 0", f"Content-Length: {len(HIDDEN)}"], HIDDEN),
    "two equal lengths": (["Content-Length: 2", "Content-Length: 2"], b"{}" + HIDDEN),
    "two lengths in one header": (["Content-Length: 2, 2"], b"{}" + HIDDEN),
    "a length with a sign": (["Content-Length: +2"], b"{}" + HIDDEN),
    "a negative length": (["Content-Length: -1"], b"{}" + HIDDEN),
    "a length in hexadecimal": (["Content-Length: 0x2"], b"{}" + HIDDEN),
    "a length of other digits": (["Content-Length: \u00b2"], b"{}" + HIDDEN),
    "a length beyond all numbers": ([f"Content-Length: {2**64 + 2}"], b"{}" + HIDDEN),
    "a folded header (obs-fold)": (["Content-Length: 2", "X-Folded: a", " Transfer-Encoding: chunked"], b"{}" + HIDDEN),
    "a folded transfer encoding": (["Transfer-Encoding:", " chunked"], CHUNKED_NOTHING + HIDDEN),
    "a space before the colon": (["Content-Length: 2", "Transfer-Encoding : chunked"], b"{}" + HIDDEN),
    "a bare line feed inside a header": (["X-Bare: a\nContent-Length: 2"], b"{}" + HIDDEN),
    "a bare carriage return inside a header": (["X-Bare: a\rContent-Length: 2"], b"{}" + HIDDEN),
    "a null byte in a header": (["X-Null: a\0b", "Content-Length: 2"], b"{}" + HIDDEN),
    "chunks that are not the last encoding": (["Transfer-Encoding: chunked, identity"], CHUNKED_NOTHING + HIDDEN),
    "an encoding that only looks like chunks": (["Transfer-Encoding: xchunked", "Content-Length: 2"], b"{}" + HIDDEN),
    "two transfer encodings": (
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked", "Content-Length: 2"], CHUNKED_NOTHING + HIDDEN,
    ),
    "a chunk size that is no number": (["Transfer-Encoding: chunked"], b"x\r\n\r\n" + HIDDEN),
    "a chunk size with a sign": (["Transfer-Encoding: chunked"], b"+2\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk size beyond all numbers": (["Transfer-Encoding: chunked"], b"fffffffffffffffff\r\n{}" + HIDDEN),
    "a chunk longer than it says": (["Transfer-Encoding: chunked"], b"1\r\n{}\r\n0\r\n\r\n" + HIDDEN),
    "a chunk that ends with a bare line feed": (["Transfer-Encoding: chunked"], b"2\r\n{}\n0\n\n" + HIDDEN),
}  # fmt: skip


@pytest.mark.parametrize("attack", AMBIGUOUS)
def test_an_ambiguous_request_is_refused_and_the_connection_closed(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer, attack: str
) -> None:
    studio.place(name, agent_release())
    headers, body = AMBIGUOUS[attack]
    sent = request(f"/workflows/{name}/execute", JSON, *headers, key=key, body=body, close=False)
    received = exchange(gateway, sent)
    assert [answer.status for answer in received] == [400]
    assert received[0].code == "invalid_request"
    assert model.requests == []


def test_lines_that_end_with_a_line_feed_alone_are_no_headers(gateway: GatewayProcess, key: KeyText) -> None:
    sent = request("/workflows", method="GET", key=key).replace(b"\r\n", b"\n")
    assert [answer.status for answer in exchange(gateway, sent)] == [400]


def test_a_refused_request_is_not_answered_in_the_name_of_the_one_before(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    body = call_body()
    first = request(f"/workflows/{name}/execute", JSON, f"Content-Length: {len(body)}", key=key, body=body, close=False)
    # The first is still waiting for its model when the gateway meets the garbage behind it.
    model.says("Answer", delay_s=1.0)
    assert exchange(gateway, first + b"GARBAGE\r\n\r\n") == []


def test_what_follows_a_closing_request_is_not_answered(gateway: GatewayProcess, key: KeyText) -> None:
    received = exchange(gateway, request("/workflows", method="GET", key=key) + HIDDEN)
    assert [answer.status for answer in received] == [200]


def test_an_upgrade_opens_no_other_protocol(gateway: GatewayProcess, key: KeyText) -> None:
    for protocol in ("websocket", "h2c"):
        headers = [
            f"Upgrade: {protocol}", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ]  # fmt: skip
        for path in ("/workflows", "/admin/v1/state"):
            sent = request(path, *headers, method="GET", key=key)
            statuses = [answer.status for answer in exchange(gateway, sent)]
            assert 101 not in statuses
            assert statuses[0] == (200 if path == "/workflows" else 401)


@pytest.mark.parametrize(
    "path", ["/admin/v1/state", "//admin/v1/state", "/workflows/../admin/v1/state", "/%61dmin/v1/state"]
)
def test_no_spelling_of_a_path_opens_the_admin_api_to_a_caller(
    gateway: GatewayProcess, key: KeyText, path: str
) -> None:
    (answer,) = exchange(gateway, request(path, method="GET", key=key))
    assert answer.status in (401, 404)


def test_an_absolute_address_and_a_foreign_host_change_nothing(gateway: GatewayProcess, key: KeyText) -> None:
    sent = request("http://169.254.169.254/workflows", "Host: 169.254.169.254", method="GET", key=key)
    assert [answer.status for answer in exchange(gateway, sent)] == [200]
