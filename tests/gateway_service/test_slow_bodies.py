"""A body comes at its sender's pace, and what was true at its beginning may be over at its end."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from contract.kinds import API_KEY
from tests.harness.gateway import agent_release

if TYPE_CHECKING:
    from contract.caller_keys import KeyText
    from tests.harness.gateway import GatewayProcess, Studio


class SlowCaller:
    """A request whose head has been sent, and whose body the gateway waits for: it has said so."""

    def __init__(self, gateway: GatewayProcess, key: KeyText, path: str, body: dict[str, Any]) -> None:
        self._body = json.dumps(body).encode()
        host, _, port = gateway.address.removeprefix("http://").partition(":")
        self._connection = socket.create_connection((host, int(port)), timeout=20)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key.text}\r\n"
            "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
            f"Content-Length: {len(self._body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        self._connection.sendall(head.encode())
        assert self._connection.recv(1_000).startswith(b"HTTP/1.1 100 ")

    def finish(self) -> tuple[int, Any]:
        """Send the body; the status and the JSON of the answer."""
        with self._connection as connection:
            connection.sendall(self._body)
            answer = http.client.HTTPResponse(connection, method="POST")
            answer.begin()
            return answer.status, json.loads(answer.read())


def bodies(name: str) -> dict[str, dict[str, Any]]:
    """A call of a registration, by the path of each channel."""
    tool = {"name": name, "arguments": {"message": "Hi"}}
    return {
        f"/workflows/{name}/execute": {"inputs": {"message": "Hi"}},
        f"/workflows/{name}": {"parameters": {"message": "Hi"}},
        "/v1/chat/completions": {"model": name, "messages": [{"role": "user", "content": "Hi"}]},
        "/mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool},
    }


@pytest.mark.parametrize("channel", range(4))
def test_a_key_that_is_revoked_while_its_body_is_sent_runs_nothing(
    gateway: GatewayProcess, studio: Studio, name: str, channel: int
) -> None:
    studio.place(name, agent_release())
    key = studio.issue()
    path, body = list(bodies(name).items())[channel]
    caller = SlowCaller(gateway, key, path, body)
    assert studio.delete(API_KEY, key.id, 2).status_code == 200
    before = len(studio.executions()["items"])
    status, answer = caller.finish()
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    assert len(studio.executions()["items"]) == before


@pytest.mark.parametrize("channel", range(4))
def test_a_release_that_is_replaced_while_a_body_is_sent_serves_no_more(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, channel: int
) -> None:
    studio.place(name, agent_release())
    path, body = list(bodies(name).items())[channel]
    caller = SlowCaller(gateway, key, path, body)
    newer = studio.place(name, agent_release(instructions="Newer."), generation=2)
    assert caller.finish()[0] == 200
    mine = [each for each in studio.executions()["items"] if each["registration"] == name]
    assert [each["release_digest"] for each in mine] == [newer["digest"]]
