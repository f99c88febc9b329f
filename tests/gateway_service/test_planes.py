"""The two planes stay apart, and a gateway carries no more than it needs."""

from __future__ import annotations

import ast
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    AGENT,
    PYTHON,
    ROOT,
    GatewayProcess,
    agent_release,
    wait_until,
)

MakeGateway = Callable[..., GatewayProcess]


def test_a_start_is_cheap_and_nexus_is_loaded_once_there_is_something_to_run(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    assert _processor_seconds(gateway.pid) < 2, "it takes about 0.4 s; Nexus would add one to three"
    assert "nexus is loaded" not in gateway.log
    gateway.admin().place(AGENT, agent_release())
    wait_until(lambda: "nexus is loaded" in gateway.log)


def test_a_cold_gateway_loads_nexus_with_its_first_execution(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway(GATEWAY_WARM="0").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    with gateway.caller(key) as client:
        assert client.get(f"/workflows/{AGENT}").status_code == 200
    assert _maps(gateway.pid, "aiohttp") == [], "neither Nexus nor the client of models"
    gateway.kill()
    gateway.start()
    assert _maps(gateway.pid, "aiohttp") == []
    assert gateway.ask(key).status_code == 200
    assert "nexus is loaded" in gateway.log
    assert _maps(gateway.pid, "aiohttp") != []


def test_the_gateways_environment_cannot_import_django() -> None:
    ran = subprocess.run([str(PYTHON), "-c", "import django"], capture_output=True, text=True, check=False)
    assert "No module named 'django'" in ran.stderr


def test_the_gateway_imports_nothing_of_studio() -> None:
    foreign = {"apps", "kaizen_site", "launcher", "django", "tests"}
    for path in (*ROOT.glob("gateway_service/**/*.py"), *ROOT.glob("contract/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            tops = {name.partition(".")[0] for name in names}
            assert not tops & foreign, f"{path} imports {tops & foreign}"
            assert path.parts[-2] != "contract" or not tops & {"gateway_service", "kailash", "nexus"}, path


def test_a_serving_gateway_talks_to_its_model_and_nobody_else(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    running = threading.Thread(target=gateway.ask, args=(key,))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1 and model.requests)
    model_port = int(model.base_url.removesuffix("/v1").rpartition(":")[2])
    outgoing = {remote for local, remote in _tcp_connections(gateway.pid) if local != gateway.port}
    gate.set()
    running.join()
    assert outgoing == {model_port}


def _processor_seconds(pid: int) -> float:
    """What the process has used until now; unlike time on the wall, the same on a busy machine."""
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def _maps(pid: int, library: str) -> list[str]:
    """The compiled modules of a library that the process has loaded."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if f"/site-packages/{library}/" in line]


def _tcp_connections(pid: int) -> list[tuple[int, int]]:
    """(local port, remote port) of the process's established connections, as the system's socket table has them."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "01" and columns[9] in sockets:
                ports = [int(columns[index].rpartition(":")[2], 16) for index in (1, 2)]
                found.append((ports[0], ports[1]))
    return found
