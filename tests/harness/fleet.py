"""An agent that runs: written, published, deployed by commands, on real gateways, brought there by the reconciler."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.agents.commands import create, publish
from apps.agents.definitions import Definition
from apps.core.actors import Actor
from apps.deployments.commands import deploy
from apps.gateways import due
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.scanner import reconcile_tenant
from apps.gateways.signing import private_key
from tests.harness.gateway import GatewayProcess

if TYPE_CHECKING:
    from pathlib import Path

    from apps.agents.models import Agent, AgentVersion
    from contract.caller_keys import KeyText
    from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")


@dataclass
class Fleet:
    """Gateways of one organization. Its methods run inside the organization's schema.

    Attributes:
        folder: where the gateways keep their stores.
        model_base_url: the model behind them.
    """

    world: Inhabited
    folder: Path
    model_base_url: str
    processes: dict[str, GatewayProcess] = field(default_factory=dict)

    def start_gateway(self, name: str, environment: str = "production") -> GatewayProcess:
        """Start a gateway that trusts the organization, and register it."""
        process = GatewayProcess(self.folder / name, self.model_base_url, organization_key=private_key()).start()
        self.register(name, process, environment)
        return process

    def register(self, name: str, process: GatewayProcess, environment: str = "production") -> None:
        """Register a gateway that runs already."""
        self.processes[name] = process
        register_gateway(
            actor=SYSTEM,
            environment=Environment.objects.get(slug=environment),
            name=name,
            address=process.address,
            deploy_token=process.token,
        )

    def write_agent(self, slug: str = "greeter", **definition: Any) -> tuple[Agent, AgentVersion]:
        """Write an agent and publish its first version."""
        values = {"name": slug.title(), "instructions": "You greet people.", **definition}
        agent = create(actor=SYSTEM, slug=slug, definition=Definition(**values))
        return agent, publish(actor=SYSTEM, agent=agent, note="first")

    def deploy(self, version: AgentVersion, environment: str = "production") -> None:
        """Want a version in an environment, and see to it that it is there."""
        deploy(actor=SYSTEM, environment=Environment.objects.get(slug=environment), version=version)
        self.reconcile()

    def issue_key(self, environment: str = "production", name: str = "shop") -> KeyText:
        """Make a caller key, and see to it that gateways know it."""
        _, text = create_key(actor=SYSTEM, environment=Environment.objects.get(slug=environment), name=name)
        self.reconcile()
        return text

    def reconcile(self) -> None:
        """Do what is due, here and now."""
        reconcile_tenant(self.world.schema)

    def settle(self) -> None:
        """Do what is due until nothing is wanted any more; a push that failed before waits for its back-off."""
        deadline = time.monotonic() + 20
        while Placement.objects.unsettled().exists():
            assert time.monotonic() < deadline, list(Placement.objects.unsettled().values("name", "conditions"))
            self.reconcile()
            time.sleep(0.05)

    def poll(self) -> None:
        """Look at every gateway now, as the scanner does every few seconds."""
        due.poll_now(Gateway.objects.all())
        self.reconcile()

    def call(self, gateway: str, registration: str, key: KeyText, message: str = "Hello", **body: Any) -> Any:
        """Call an agent through a gateway's API channel and return the answer."""
        with self.processes[gateway].caller(key) as client:
            return client.post(f"/workflows/{registration}/execute", json={"inputs": {"message": message}, **body})

    def stop(self) -> None:
        """Stop every gateway."""
        for process in self.processes.values():
            process.kill()
