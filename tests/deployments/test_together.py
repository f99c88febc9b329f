"""Several people and the scanner at once: nobody waits for ever, and in the end every gateway holds the last wish."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from apps.core.errors import Conflict
from apps.core.tenancy import tenant
from apps.deployments import commands
from apps.deployments.models import Deployment, Rollout
from apps.deployments.queries import status_of
from apps.gateways.models import Environment, Placement
from tests.deployments.sockets import scanning
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version, release_of
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.doubles.model_server import ModelServer
    from tests.harness.world import Inhabited

ACTS = 40


@pytest.mark.slow
def test_deploys_rollbacks_and_joining_gateways_at_once(
    live_organization: Inhabited, tmp_path: Path, model: ModelServer
) -> None:
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    staging = Environment.objects.get(slug="staging")
    agent, first = fleet.write_agent()
    versions = [first, next_version(agent, "Two."), next_version(agent, "Three.")]
    fleet.start_gateway("stage-1", "staging")
    deployment = deploy(SYSTEM, staging, first)
    owner = live_organization.actor("owner")

    def change(seed: int) -> None:
        """One change at random. Some are refused, since another was faster; none may fail otherwise."""
        choose = random.Random(seed)
        acts: list[Callable[[], object]] = [
            lambda: deploy(owner, staging, choose.choice(versions), release_hold=True, redeploy=True),
            lambda: commands.rollback(actor=owner, deployment=deployment, to=release_of(first)),
            lambda: commands.cancel(actor=owner, deployment=deployment),
            lambda: commands.retry(actor=owner, deployment=deployment),
            lambda: commands.close_playground(
                actor=owner, playground=commands.open_playground(actor=owner, deployment=deployment)[0]
            ),
        ]
        with tenant(live_organization.schema):
            try:
                choose.choice(acts)()
            except Conflict:
                pass
            finally:
                connections.close_all()

    def join() -> None:
        with tenant(live_organization.schema):
            fleet.start_gateway("stage-2", "staging")
            connections.close_all()

    with scanning(), ThreadPoolExecutor(6) as people:
        tasks = [people.submit(change, seed) for seed in range(ACTS)]
        tasks.insert(ACTS // 2, people.submit(join))
        for task in tasks:
            task.result(timeout=60)
        final = deploy(owner, staging, versions[-1], release_hold=True, redeploy=True)
        deadline = time.monotonic() + 30
        while status_of(fresh(final)).adjective != "running" or Rollout.objects.filter(state="progressing").exists():
            assert time.monotonic() < deadline, status_of(fresh(final))
            time.sleep(0.1)

    wanted = release_of(versions[-1]).digest
    for process in fleet.processes.values():
        items = process.admin().state(items=True)["items"]
        assert [item["digest"] for item in items if item["kind"] == "workflow"] == [wanted]
    generations = list(deployment.rollouts.order_by("generation").values_list("generation", flat=True))
    assert generations == list(range(1, Deployment.objects.get().generation + 1)), "every change is one generation"
    assert not Placement.objects.of("workflow", "greeter-staging").unsettled().exists()
    fleet.stop()
