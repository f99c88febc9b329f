"""One gateway for the tests that only add to it, and fresh ones for those that stop, kill or fill theirs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import GatewayProcess, Studio

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    """The model's endpoint of this test session."""
    with ModelServer() as server:
        yield server


@pytest.fixture(autouse=True)
def model(model_server: ModelServer) -> ModelServer:
    """The model, with nothing left of earlier tests."""
    model_server.forget()
    return model_server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, model_server: ModelServer) -> Iterator[GatewayProcess]:
    """A running gateway that tests share; each uses names and keys of its own."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), model_server.base_url).start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def studio(gateway: GatewayProcess) -> Studio:
    """Studio's side of the shared gateway."""
    return gateway.admin()


@pytest.fixture(scope="session")
def key(studio: Studio) -> KeyText:
    """A key for everything on the shared gateway."""
    return studio.issue()


@pytest.fixture
def call(gateway: GatewayProcess, key: KeyText, name: str) -> Callable[..., httpx.Response]:
    """Execute the test's registration: `call(inputs, **further_members)`."""

    def send(inputs: Any = None, **members: Any) -> httpx.Response:
        body = {"inputs": {"message": "Hello"} if inputs is None else inputs, **members}
        with gateway.caller(key) as client:
            return client.post(f"/workflows/{name}/execute", json=body)

    return send


@pytest.fixture
def name() -> str:
    """A registration name that no other test uses."""
    return f"agent-{next(_numbers)}-test"


@pytest.fixture
def fresh_gateway(tmp_path: Path, model: ModelServer) -> Iterator[Callable[..., GatewayProcess]]:
    """Make gateways of this test's own, not started; they are stopped at its end."""
    made: list[GatewayProcess] = []

    def make(**extra: Any) -> GatewayProcess:
        made.append(GatewayProcess(tmp_path / f"gateway-{len(made)}", model.base_url, extra=extra))
        return made[-1]

    yield make
    for process in made:
        process.kill()
