"""The Celery worker: what is wanted is there a moment after the commit, without a scanner."""

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
from django.utils import timezone

from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.scanner import reconcile_tenant
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
    worker = _start_worker()
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
        _stop(worker)
        process.kill()


@pytest.mark.slow
def test_a_worker_that_is_killed_in_a_push_costs_one_lease(live_organization: Inhabited, tmp_path: Path) -> None:
    development = Environment.objects.get(slug="development")
    owner = live_organization.actor("owner")
    process = GatewayProcess(tmp_path / "one", "http://127.0.0.1:9/v1", organization_key=private_key()).start()
    worker = _start_worker(KAIZEN_PUSH_LEASE_S="1")
    try:
        register_gateway(
            actor=owner, environment=development, name="one", address=process.address, deploy_token=process.token
        )
        _until(lambda: Gateway.objects.get(name="one").status == "healthy", 40)
        os.kill(process.pid, signal.SIGSTOP)
        _, text = create_key(actor=owner, environment=development, name="shop")
        _until(lambda: Placement.objects.filter(lease_until__gt=timezone.now()).exists(), 20)
        claimed = Placement.objects.get()
        # The push takes longer than its lease, and the worker lives.
        _until(lambda: Placement.objects.get().lease_until != claimed.lease_until, 20)
        assert Placement.objects.get().fence == claimed.fence
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        os.kill(process.pid, signal.SIGCONT)

        _until(lambda: reconcile_tenant(live_organization.schema) > 0 and Placement.objects.get().settled, 20)

        assert Placement.objects.get().fence > claimed.fence
        assert call(process, text.text) == 200
    finally:
        _stop(worker)
        process.kill()


def _start_worker(**variables: str) -> subprocess.Popen[bytes]:
    """A worker with one process for tasks, in a process group of its own."""
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
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, start_new_session=True)


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _until(true: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
