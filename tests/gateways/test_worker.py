"""The Celery worker: what is wanted is there a moment after the commit, without a scanner."""

from __future__ import annotations

import os
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
from tests.harness.gateway import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.world import Inhabited

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_hint_brings_what_is_wanted_past_a_gateway_that_hangs(live_organization: Inhabited, tmp_path: Path) -> None:
    development = Environment.objects.get(slug="development")
    owner = live_organization.actor("owner")
    process = GatewayProcess(tmp_path / "one", "http://127.0.0.1:9/v1", organization_key=private_key()).start()
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "kaizen_site",
        "worker",
        "-Q",
        "celery",
        "-c",
        "1",
        "-l",
        "WARNING",
    ]
    worker = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy())
    hole = socket.socket()
    try:
        hole.bind(("127.0.0.1", 0))
        hole.listen(16)
        register_gateway(
            actor=owner,
            environment=development,
            name="hung",
            address=f"http://127.0.0.1:{hole.getsockname()[1]}",
            deploy_token="a-token-of-some-length",
        )
        register_gateway(
            actor=owner, environment=development, name="one", address=process.address, deploy_token=process.token
        )
        _until(lambda: Gateway.objects.get(name="one").status == "healthy", 40)
        # It answered once, and hangs since.
        Gateway.objects.filter(name="hung").update(gateway_id="it", public_key="its", status="healthy")
        started = time.monotonic()
        for _ in range(3):
            _, text = create_key(actor=owner, environment=development, name="shop")
        _until(lambda: call(process, text.text) == 200, 20)
        assert time.monotonic() - started < 5.0, "the gateway that hangs held the other up"
        assert Placement.objects.unsettled().filter(gateway__name="hung").count() == 3
        # The gateway may serve the key a moment before its acknowledgement is recorded.
        _until(lambda: not Placement.objects.unsettled().filter(gateway__name="one").exists(), 5)
    finally:
        hole.close()
        worker.terminate()
        try:
            worker.wait(timeout=20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        process.kill()


def _until(true: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
