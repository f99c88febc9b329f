"""The guarded client against a name server of the attacker's: what is connected to is what was looked at."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.doubles.tool_server import ToolServer
from tests.harness.gateway import PYTHON, ROOT

# aiohttp is in the gateway's environment and not in that of the tests, so the client runs in a process of its own.
# Only the answers of the name server are made up there.
_PROGRAM = """
import asyncio, ipaddress, json, socket, sys
from gateway_service.outgoing.client import OutgoingClient, OutgoingFailed, OutgoingRequest
from gateway_service.outgoing.rules import ForbiddenDestination, HostPattern, Origin, OutgoingRules

url, networks, lookups = json.loads(sys.argv[1])

async def main():
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo
    async def getaddrinfo(host, port, **options):
        addresses = lookups.pop(0) if len(lookups) > 1 else lookups[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    loop.getaddrinfo = getaddrinfo
    networks_allowed = tuple(ipaddress.ip_network(network) for network in networks)
    rules = OutgoingRules((HostPattern("*", Origin.of(url).port),), networks_allowed)
    client = OutgoingClient(rules)
    said = []
    for _ in range(2):
        try:
            answer = await client.fetch(OutgoingRequest("GET", url, {"Connection": "close"}), timeout_s=5)
            said.append(answer.status)
        except (ForbiddenDestination, OutgoingFailed) as error:
            said.append(str(error))
    await client.close()
    print(json.dumps(said))

asyncio.run(main())
"""


def fetch_twice(url: str, *, networks: list[str], lookups: list[list[str]]) -> list[Any]:
    """What two requests come to, whose names resolve one after another as given."""
    ran = subprocess.run(
        [str(PYTHON), "-c", _PROGRAM, json.dumps([url, networks, lookups])],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said: list[Any] = json.loads(ran.stdout)
    return said


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("10.1.2.3", "a private address"),
        ("0.0.0.0", "the unspecified address"),
    ],
)
def test_a_name_that_leads_inside_is_refused(tools: ToolServer, address: str, reason: str) -> None:
    said = fetch_twice(f"http://harmless.example:{tools.port}/orders", networks=[], lookups=[[address]])
    assert said == [f"it is at {reason}, and the gateway's operator does not allow that"] * 2
    assert tools.asked == []


def test_a_name_that_resolves_differently_a_moment_later_gains_nothing(tools: ToolServer) -> None:
    # Whoever looks a name up to check it, and once more to connect, is sent to the second address.
    url = f"http://rebinding.example:{tools.port}/orders"
    said = fetch_twice(url, networks=["127.0.0.1/32"], lookups=[["127.0.0.1"], ["169.254.169.254"]])
    assert said[0] == 200
    assert tools.asked[0].headers["Host"] == f"rebinding.example:{tools.port}"
