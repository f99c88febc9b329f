"""What stands between the planes: nothing but Studio's pushes and fetches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from launcher import processes
from tests.harness.gateway import PYTHON

if TYPE_CHECKING:
    from tests.e2e.conftest import Studio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_STUDIO_PORTS = ("KAIZEN_PORT", "KAIZEN_DATABASE_PORT", "KAIZEN_REDIS_PORT")


def _ask(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
    return str(json.loads(done.stdout)["outputs"]["text"]).strip()


def test_the_gateways_environment_cannot_import_django() -> None:
    done = subprocess.run([PYTHON, "-c", "import django"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ModuleNotFoundError" in done.stderr


def test_a_serving_gateway_holds_no_connection_to_studio(studio: Studio) -> None:
    forbidden = {studio.terminal.port(name) for name in _STUDIO_PORTS}
    asking = subprocess.Popen(studio.panel["curl"], shell=True, stdout=subprocess.PIPE)
    seen: set[int] = set()
    while asking.poll() is None:
        for pid in studio.process_ids("-m gateway_service"):
            with suppress(psutil.NoSuchProcess):
                for connection in psutil.Process(pid).net_connections(kind="tcp"):
                    if connection.raddr:
                        seen.add(connection.raddr.port)
        time.sleep(0.02)
    assert asking.wait() == 0
    # It was watched while it asked the model, so an empty table would not have passed for silence.
    assert studio.terminal.port("KAIZEN_MODEL_PORT") in seen
    assert not seen & forbidden


def test_a_killed_gateway_comes_back_with_its_agent_while_studio_is_dead(doomed_studio: Studio) -> None:
    """kill -9 to everything of Studio, its database and its broker, then to the gateway itself."""
    studio = doomed_studio
    (gateway,) = [pid for pid in studio.process_ids("-m gateway_service") if _serves(pid, studio)]
    environment = dict(
        entry.split("=", 1) for entry in Path(f"/proc/{gateway}/environ").read_text().split("\0") if "=" in entry
    )
    command = Path(f"/proc/{gateway}/cmdline").read_text().rstrip("\0").split("\0")
    folder = Path(f"/proc/{gateway}/cwd").resolve()

    _kill_all_but(studio, {gateway, *studio.process_ids("model_server")})
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{studio.terminal.port('KAIZEN_PORT')}/healthz", timeout=5)
    assert _ask(studio.panel["curl"])

    os.kill(gateway, signal.SIGKILL)
    _wait_until_gone(gateway)
    quiet = subprocess.DEVNULL
    revived = subprocess.Popen(command, env=environment, cwd=folder, stdout=quiet, stderr=quiet)
    try:
        _wait_until_ready(studio)
        assert _ask(studio.panel["curl"])
    finally:
        revived.terminate()
        revived.wait(timeout=30)


def _serves(pid: int, studio: Studio) -> bool:
    port = studio.terminal.port("KAIZEN_GATEWAY_DEVELOPMENT_PORT")
    return any(each.laddr.port == port for each in psutil.Process(pid).net_connections(kind="tcp"))


def _kill_all_but(studio: Studio, spared: set[int]) -> None:
    """The supervisor and the launcher first, so that nothing is started again."""
    launched = studio.terminal.running[-1]
    launched.kill()
    for word in ("supervisord", ""):
        for pid in studio.process_ids(word):
            if pid not in spared:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while [pid for pid in processes.marked(studio.terminal.folder) if pid not in spared and processes.is_alive(pid)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while processes.is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _wait_until_ready(studio: Studio) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{studio.gateway()}/readyz", timeout=2).status_code == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)
