"""An agent that runs on a real gateway of acme's production, and one that waits for a gateway in staging."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.model_server import ModelServer
from tests.harness.fleet import Fleet
from tests.harness.world import Inhabited


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def fleet(acme: Inhabited, tmp_path: Path, model: ModelServer) -> Iterator[Fleet]:
    fleet = Fleet(acme, tmp_path, model.base_url)
    yield fleet
    fleet.stop()
