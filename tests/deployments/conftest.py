"""Agents on real gateways, with the reconciler run step by step in the test's own thread and transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def model(model_server: ModelServer) -> ModelServer:
    """The model behind the gateways, which repeats what it is told."""
    model_server.forget()
    return model_server


@pytest.fixture
def fleet(acme: Inhabited, tmp_path: Path, model: ModelServer) -> Iterator[Fleet]:
    """Acme's gateways; none at first."""
    from tests.harness.fleet import Fleet

    started = Fleet(acme, tmp_path, model.base_url)
    yield started
    started.stop()


@pytest.fixture
def staging(acme: Inhabited) -> Environment:
    from apps.gateways.models import Environment

    return Environment.objects.get(slug="staging")
