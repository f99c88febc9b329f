"""Callers who take their time, or more than their share, before anybody knows who they are."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.gateway_service.attacks.raw import answers, call_body, connect, exchange, request, until_closed
from tests.harness.gateway import AGENT, GatewayProcess, agent_release, executions_of, wait_until

JSON = "Content-Type: application/json"
CONNECTIONS = 16


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[GatewayProcess]:
    """A gateway with little patience and little room."""
    bounds = {
        "GATEWAY_REQUEST_READ_S": "1",
        "GATEWAY_READER_STALL_S": "1",
        "GATEWAY_MAX_CONNECTIONS": str(CONNECTIONS),
    }
    process = GatewayProcess(tmp_path_factory.mktemp("hurried"), model_server.base_url, extra=bounds).start()
    process.admin().place(AGENT, agent_release())
    yield process
    process.stop()


@pytest.fixture(scope="module")
def its_key(hurried: GatewayProcess) -> KeyText:
    """A key on it."""
    return hurried.admin().issue()


def trickle(connection: socket.socket, content: bytes) -> bytes:
    """Send a byte at a time, as slowly as no time-out between two reads would notice; what is answered."""
    with contextlib.suppress(ConnectionError):
        for index in range(len(content)):
            connection.sendall(content[index : index + 1])
            time.sleep(0.05)
    return until_closed(connection)


def test_headers_that_never_end_are_not_waited_for(hurried: GatewayProcess) -> None:
    head = b"GET /workflows HTTP/1.1\r\nHost: gateway\r\n" + b"X-Slow: 1\r\n" * 100
    with connect(hurried) as connection:
        (answer,) = answers(trickle(connection, head))
    assert (answer.status, answer.code) == (408, "request_timeout")


def test_a_body_that_never_ends_is_not_waited_for(hurried: GatewayProcess, its_key: KeyText) -> None:
    head = request(f"/workflows/{AGENT}/execute", JSON, "Content-Length: 1000", key=its_key)
    with connect(hurried) as connection:
        connection.sendall(head)
        (answer,) = answers(trickle(connection, call_body("x" * 900)))
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert hurried.admin().executions()["items"] == []


def test_a_body_in_endless_chunks_is_not_waited_for(hurried: GatewayProcess, its_key: KeyText) -> None:
    head = request(f"/workflows/{AGENT}/execute", JSON, "Transfer-Encoding: chunked", key=its_key)
    with connect(hurried) as connection:
        connection.sendall(head)
        (answer,) = answers(trickle(connection, b"1\r\n \r\n" * 200))
    assert (answer.status, answer.code) == (408, "request_timeout")


def test_a_refused_caller_who_goes_on_sending_is_cut_off(hurried: GatewayProcess) -> None:
    head = request(f"/workflows/{AGENT}/execute", JSON, "Content-Length: 1000")
    with connect(hurried) as connection:
        connection.sendall(head)
        assert [answer.status for answer in answers(trickle(connection, b"x" * 900))] == [401]


def test_a_connection_that_says_nothing_is_closed_without_a_word(hurried: GatewayProcess) -> None:
    with connect(hurried) as connection:
        assert until_closed(connection) == b""


def test_a_second_request_on_a_connection_has_no_more_time_than_the_first(
    hurried: GatewayProcess, its_key: KeyText
) -> None:
    first = request("/workflows", method="GET", key=its_key, close=False)
    with connect(hurried) as connection:
        connection.sendall(first)
        begun = connection.recv(65_536)
        rest = trickle(connection, b"GET /workflows HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 100)
    assert [answer.status for answer in answers(begun + rest)] == [200, 408]


def test_a_slow_answer_is_no_slow_request(hurried: GatewayProcess, its_key: KeyText, model: ModelServer) -> None:
    model.says("Late.", delay_s=2.0)
    assert hurried.ask(its_key).json()["outputs"] == {"text": "Late."}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /workflows HTTP/1.1\r\nHost: gateway\r\nX-Long: " + b"x" * 2_000_000,
        b"GET /workflows HTTP/1.1\r\nHost: gateway\r\n" + b"X-Many: x\r\n" * 200_000,
        b"GET /" + b"x" * 2_000_000,
        b"GET /workflows HTTP/1.1\r\nHost: gateway\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
    ],
    ids=["one long header", "many headers", "a long address", "whole but too long"],
)
def test_a_head_without_end_is_not_kept(hurried: GatewayProcess, head: bytes) -> None:
    with connect(hurried) as connection:
        # What the gateway does not read any more meets a closed connection, and its answer may be lost in that.
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
        received = answers(until_closed(connection))
    assert [(answer.status, answer.code) for answer in received] in ([], [(431, "headers_too_large")])


def test_a_head_that_is_a_little_too_long_is_told_so(hurried: GatewayProcess) -> None:
    head = request("/workflows", f"X-Long: {'x' * 33_000}", method="GET")
    (answer,) = exchange(hurried, head)
    assert (answer.status, answer.code) == (431, "headers_too_large")


def test_connections_are_limited_and_given_back(hurried: GatewayProcess, its_key: KeyText) -> None:
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(connect(hurried)) for _ in range(CONNECTIONS)]
        (answer,) = answers(until_closed(held.enter_context(connect(hurried))))
        assert (answer.status, answer.code) == (503, "overloaded")
        # Those who were there first are served.
        connections[0].sendall(request("/workflows", method="GET", key=its_key))
        assert answers(until_closed(connections[0]))[0].status == 200
    wait_until(lambda: exchange(hurried, request("/healthz", method="GET"))[0].status == 200)


def test_a_reader_of_a_stream_who_stops_reading_gives_its_execution_up(
    hurried: GatewayProcess, its_key: KeyText, model: ModelServer
) -> None:
    # Far more than the kernel's buffers hold, so that the gateway notices that nobody reads.
    model.says(*["x" * 60_000 for _ in range(250)])
    stalled_from = len(hurried.admin().executions()["items"])
    body = call_body(mode="stream")
    head = request(f"/workflows/{AGENT}/execute", JSON, f"Content-Length: {len(body)}", key=its_key, body=body)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", hurried.port))
        connection.sendall(head)
        records = executions_of(hurried.admin(), AGENT, stalled_from + 1)
    assert records[-1]["status"] == "cancelled"
    assert hurried.admin().state()["capacity"]["in_flight"] == 0


def test_strangers_leave_no_lines_in_the_log_and_are_counted(hurried: GatewayProcess) -> None:
    before = hurried.log
    exchange(hurried, b"GARBAGE\r\n\r\n")
    assert hurried.log == before
    metrics = hurried.admin().http.get("/metrics").text
    assert 'kaizen_refusals_total{code="request_timeout",surface="caller"}' in metrics
    assert 'kaizen_refusals_total{code="invalid_request",surface="caller"}' in metrics


def test_a_caller_who_leaves_in_the_middle_of_its_body_is_no_fault_of_the_gateway(
    fresh_gateway: Callable[..., Any],
) -> None:
    gateway = fresh_gateway().start()
    key = gateway.admin().issue()
    with connect(gateway) as connection:
        connection.sendall(request("/mcp", JSON, "Content-Length: 1000", key=key) + b"{")
    with connect(gateway) as connection:
        connection.sendall(request(f"/workflows/{AGENT}/execute", JSON, "Content-Length: 1000", key=key) + b"{")
    assert gateway.stop() == 0
    assert "failed" not in gateway.log
