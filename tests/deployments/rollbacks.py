"""A deployment that was rolled back, and the question whether that still holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from apps.deployments import commands
from apps.gateways.models import Gateway, Placement
from tests.deployments.steps import SYSTEM, fresh, release_of

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.deployments.models import Deployment
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.gateway import GatewayProcess


@dataclass
class Story:
    """A deployment that went from an old to a new release, and back."""

    fleet: Fleet
    environment: Environment
    old: AgentVersion
    new: AgentVersion
    deployment: Deployment

    @property
    def process(self) -> GatewayProcess:
        return self.fleet.processes["stage-1"]

    @property
    def gateway(self) -> Gateway:
        return Gateway.objects.get(name="stage-1")

    def run(self) -> None:
        """Everything that runs by itself, a few times over: polls, pushes, rollouts."""
        for _ in range(3):
            self.fleet.poll()
            Placement.objects.unsettled().update(next_attempt_at=timezone.now())
            self.fleet.reconcile()

    def roll_back(self, actor: Any = SYSTEM) -> None:
        commands.rollback(actor=actor, deployment=fresh(self.deployment), to=release_of(self.old), note="it swears")

    def holds(self) -> None:
        """After all that runs by itself has run: the old release is wished for, held, and there, and only that."""
        self.run()
        deployment = fresh(self.deployment)
        assert deployment.held
        assert deployment.release == release_of(self.old)
        wished = Placement.objects.filter(name__startswith=deployment.registration)
        assert release_of(self.new).digest not in wished.values_list("desired_digest", flat=True)
        for name, process in self.fleet.processes.items():
            assert held_of(process, deployment) == {
                ("workflow", deployment.registration): release_of(self.old).digest
            }, name


def held_of(process: GatewayProcess, deployment: Deployment) -> dict[tuple[str, str], str]:
    """What a gateway holds of a deployment, canary and route included, by kind and name."""
    living = process.admin().living()
    return {thing: digest for thing, digest in living.items() if thing[1].partition("@")[0] == deployment.registration}
