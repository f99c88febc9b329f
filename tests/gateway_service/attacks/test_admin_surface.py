"""The admin API on an address of its own: nothing of it elsewhere, and nobody there without a certificate."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contract.admin_api import PREFIX
from tests.doubles.model_server import ModelServer
from tests.harness.certificates import Authority, Certificate
from tests.harness.gateway import (
    AGENT,
    PYTHON,
    ROOT,
    GatewayProcess,
    agent_release,
    error_of,
    free_port,
    wait_until,
)

ADMIN_PATHS = [
    ("GET", f"{PREFIX}/state"),
    ("GET", f"{PREFIX}/openapi.json"),
    ("GET", f"{PREFIX}/executions"),
    ("POST", f"{PREFIX}/drain"),
    ("PUT", f"{PREFIX}/workflows/{AGENT}"),
    ("DELETE", f"{PREFIX}/keys/x?generation=1"),
    ("GET", "/metrics"),
]


def trusting(authority: Authority, shown: Certificate | None = None) -> ssl.SSLContext:
    """A client that trusts an authority's servers, and shows a certificate if asked for one."""
    context = ssl.create_default_context(cafile=authority.file)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The organization's own."""
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer, authority: Authority
) -> Iterator[GatewayProcess]:
    """A gateway that speaks TLS to callers, and mutual TLS to Studio, elsewhere."""
    server = authority.issue("gateway")
    process = GatewayProcess(
        tmp_path_factory.mktemp("guarded"),
        model_server.base_url,
        extra={
            "GATEWAY_TLS_CERT": str(server.certificate),
            "GATEWAY_TLS_KEY": str(server.key),
            "GATEWAY_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
            "GATEWAY_ADMIN_TLS_CERT": str(server.certificate),
            "GATEWAY_ADMIN_TLS_KEY": str(server.key),
            "GATEWAY_ADMIN_TLS_CLIENT_CA": str(authority.file),
        },
        tls=trusting(authority, authority.issue("studio")),
    ).start()
    yield process
    process.stop()


def test_studio_and_callers_are_served_each_at_their_address(guarded: GatewayProcess) -> None:
    studio = guarded.admin()
    studio.place(AGENT, agent_release())
    assert guarded.ask(studio.issue()).json()["outputs"] == {"text": "You said: Hi"}
    assert studio.http.get("/metrics").status_code == 200
    assert studio.http.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(("method", "path"), ADMIN_PATHS)
def test_the_callers_address_has_nothing_of_the_admin_api(guarded: GatewayProcess, method: str, path: str) -> None:
    token = {"Authorization": f"Bearer {guarded.token}"}
    with guarded.caller() as client:
        answer = client.request(method, path, headers=token)
    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/workflows", "/v1/models", f"/workflows/{AGENT}/execute", "/mcp", "/openapi.json"])
def test_the_admin_address_has_nothing_of_the_channels(guarded: GatewayProcess, path: str) -> None:
    studio = guarded.admin()
    key = studio.issue()
    for method in ("GET", "POST"):
        answer = studio.http.request(method, path, headers={"Authorization": f"Bearer {key.text}"})
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def test_the_deploy_token_alone_does_not_open_it(guarded: GatewayProcess, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority.create(tmp_path / "stranger", "authority").issue("studio")
    for shown in (None, stranger):
        client = httpx.Client(
            verify=trusting(authority, shown), headers={"Authorization": f"Bearer {guarded.token}"}, timeout=20
        )
        # With TLS 1.3 a client learns of it when it reads.
        with client, pytest.raises(httpx.TransportError):
            client.get(f"{guarded.admin_address}{PREFIX}/state")


def test_the_certificate_alone_does_not_open_it(guarded: GatewayProcess) -> None:
    with httpx.Client(verify=guarded.tls or True, timeout=20) as client:
        answer = client.get(f"{guarded.admin_address}{PREFIX}/state")
    assert (answer.status_code, error_of(answer)["code"]) == (401, "unauthenticated")


def test_neither_address_speaks_in_the_clear(guarded: GatewayProcess) -> None:
    for address in (guarded.address, guarded.admin_address):
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address.replace('https', 'http')}/healthz", timeout=20)


def test_studio_can_watch_until_the_last_execution_has_ended(tmp_path: Path, model: ModelServer) -> None:
    process = GatewayProcess(
        tmp_path / "gateway", model.base_url, extra={"GATEWAY_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}"}
    ).start()
    studio = process.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("Done.", gate=gate)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(process.ask(key)))
    caller.start()
    try:
        wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
        process.terminate()
        wait_until(lambda: studio.state()["draining"])
        assert studio.state()["capacity"]["in_flight"] == 1
    finally:
        gate.set()
        caller.join()
        status = process.wait()
    assert (status, answers[0].json()["outputs"]) == (0, {"text": "Done."})


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"GATEWAY_ADMIN_ADDRESS": "nowhere"}, "GATEWAY_ADMIN_ADDRESS must be host:port"),
        ({"GATEWAY_ADMIN_ADDRESS": "192.0.2.1:80"}, "GATEWAY_ADMIN_ADDRESS 192.0.2.1:80 cannot be used"),
        ({"GATEWAY_TLS_CERT": "{cert}"}, "GATEWAY_TLS_KEY is not set"),
        ({"GATEWAY_TLS_KEY": "{key}"}, "GATEWAY_TLS_CERT is not set"),
        ({"GATEWAY_TLS_CERT": "/nothing", "GATEWAY_TLS_KEY": "{key}"}, "GATEWAY_TLS_CERT, GATEWAY_TLS_KEY cannot"),
        ({"GATEWAY_TLS_CERT": "{cert}", "GATEWAY_TLS_KEY": "{other}"}, "GATEWAY_TLS_CERT, GATEWAY_TLS_KEY cannot"),
        ({"GATEWAY_ADMIN_TLS_CERT": "{cert}", "GATEWAY_ADMIN_TLS_KEY": "{key}"}, "GATEWAY_ADMIN_ADDRESS is not set"),
        (
            {"GATEWAY_ADMIN_ADDRESS": "127.0.0.1:1", "GATEWAY_ADMIN_TLS_CLIENT_CA": "{cert}"},
            "GATEWAY_ADMIN_TLS_CERT is not set",
        ),
        ({"GATEWAY_REQUEST_READ_S": "0"}, "GATEWAY_REQUEST_READ_S must be a whole number from 1"),
        ({"GATEWAY_READER_STALL_S": "x"}, "GATEWAY_READER_STALL_S must be a whole number from 1"),
        ({"GATEWAY_MAX_CONNECTIONS": "1"}, "GATEWAY_MAX_CONNECTIONS must be a whole number from 16"),
    ],
)
def test_a_listener_that_cannot_be_had_is_named(
    tmp_path: Path, model: ModelServer, authority: Authority, variables: dict[str, str], named: str
) -> None:
    mine, other = authority.issue("mine"), authority.issue("other")
    files = {"cert": str(mine.certificate), "key": str(mine.key), "other": str(other.key)}
    extra = {variable: value.format(**files) for variable, value in variables.items()}
    gateway = GatewayProcess(tmp_path / "gateway", model.base_url, extra=extra)
    ran = subprocess.run(
        [str(PYTHON), "-m", "gateway_service"],
        cwd=ROOT, env=gateway.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert named in ran.stderr
    assert "Traceback" not in ran.stderr
