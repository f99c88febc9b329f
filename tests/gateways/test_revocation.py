"""A revoked key stops working within two seconds on every reachable gateway, whatever the broker does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.signing import private_key
from tests.gateways.test_reconciling import call
from tests.harness.gateway import GatewayProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.world import Inhabited

ROOT = Path(__file__).resolve().parents[2]
# What a web process does when somebody presses the button, with Studio's own settings: says when it is ready, waits for
# the word, and tells how long the command took.
REVOKER = """
import sys, time, django
django.setup()
from apps.core.actors import Actor
from apps.core.tenancy import tenant
from apps.gateways.commands import revoke_key
from apps.gateways.models import CallerKey
with tenant(sys.argv[1]):
    key = CallerKey.objects.get(public_id=sys.argv[2])
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    revoke_key(actor=Actor.system("tests"), key=key)
    print(time.monotonic() - started, flush=True)
"""


@pytest.fixture(params=["refuses connections", "hangs"])
def dead_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a broker that is dead, in one of the two ways of being so."""
    if request.param == "refuses connections":
        yield f"redis://127.0.0.1:{free_port()}/0"
        return
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(64)
        yield f"redis://127.0.0.1:{hole.getsockname()[1]}/0"


@pytest.mark.slow
def test_within_two_seconds_with_a_dead_broker(live_organization: Inhabited, dead_broker: str, tmp_path: Path) -> None:
    development = Environment.objects.get(slug="development")
    owner = live_organization.actor("owner")
    processes = [
        GatewayProcess(tmp_path / name, "http://127.0.0.1:9/v1", organization_key=private_key()).start()
        for name in ("one", "two")
    ]
    environment = {**os.environ, "REDIS_URL": dead_broker, "DJANGO_SETTINGS_MODULE": "kaizen_site.settings"}
    scanner = subprocess.Popen([sys.executable, "manage.py", "scan"], cwd=ROOT, env=environment)
    revoker = None
    try:
        for process in processes:
            register_gateway(
                actor=owner,
                environment=development,
                name=process.folder.name,
                address=process.address,
                deploy_token=process.token,
            )
        key, text = create_key(actor=owner, environment=development, name="shop")
        _wait_for(lambda: [call(process, text.text) for process in processes] == [200, 200])

        revoker = subprocess.Popen(
            [sys.executable, "-c", REVOKER, live_organization.schema, key.public_id],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert revoker.stdin is not None
        assert revoker.stdout is not None
        assert revoker.stdout.readline() == "ready\n"
        pressed = time.monotonic()
        revoker.stdin.write("go\n")
        revoker.stdin.flush()
        _wait_for(lambda: [call(process, text.text) for process in processes] == [401, 401])
        took = time.monotonic() - pressed
        command_took = float(revoker.stdout.readline())

        assert took < 2.0, f"the key worked for {took:.1f} s after the command"
        assert command_took < 1.0, f"the dead broker held the command up for {command_took:.1f} s"
        _wait_for(lambda: not Placement.objects.unsettled().exists())
        assert {gateway.status for gateway in Gateway.objects.all()} == {"healthy"}

        scanner.send_signal(signal.SIGTERM)
        assert scanner.wait(timeout=20) == 0, "the scanner stops cleanly"
    finally:
        for child in (scanner, revoker):
            if child is not None and child.poll() is None:
                child.kill()
                child.wait()
        for process in processes:
            process.kill()


def _wait_for(true: object, within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
