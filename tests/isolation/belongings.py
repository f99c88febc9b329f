"""What acme has, at least one of each: a factory for every variable part of every address.

The names carry a mark that nothing of another organization does, so that it can be looked for in what others see.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.accounts.commands import create_token, create_user
from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.commands import record_system_event
from apps.deployments.commands import deploy, open_playground, set_rollout_policy, stop_agent
from apps.deployments.models import Deployment
from apps.deployments.strategies.plans import ALL_AT_ONCE
from apps.gateways.commands import create_environment, create_key, register_gateway
from apps.gateways.models import Placement
from apps.telemetry.commands import set_price
from apps.telemetry.models import Execution
from tests.harness.world import Inhabited
from tests.isolation.routes import Argument

MARK = "zqacme"
SYSTEM = Actor.system(f"{MARK} tests")


class Belongings:
    """Objects of an organization, made inside its schema. They exist there and nowhere else.

    Attributes:
        by_argument: the value for each variable part of an address.
        by_fragment: the identifier of an object for each live fragment that is about one.
    """

    def __init__(self, world: Inhabited, *, events: int, mark: str = MARK) -> None:
        user = create_user(actor=SYSTEM, email=f"{mark}@{world.organization.slug}.example", role="viewer", name=mark)
        token, _ = create_token(actor=world.actor("owner"), user=world.users["owner"], name=mark)
        agent = agents.create(actor=SYSTEM, slug=f"{mark}-agent", definition=_definition(mark))
        version = agents.publish(actor=SYSTEM, agent=agent, note=mark)
        environment = create_environment(actor=SYSTEM, slug=mark, name=mark)
        gateway = register_gateway(
            actor=SYSTEM, environment=environment, name=f"{mark}-gateway", address="http://127.0.0.1:9",
            deploy_token="a-token-of-some-length",
        )  # fmt: skip
        key, _ = create_key(actor=SYSTEM, environment=environment, name=mark)
        rollout = deploy(actor=SYSTEM, environment=environment, version=version, note=mark)
        deployment = Deployment.objects.get(pk=rollout.deployment_id)
        open_playground(actor=SYSTEM, deployment=deployment)
        set_rollout_policy(actor=SYSTEM, environment=environment, plan=ALL_AT_ONCE)
        stopped = agents.create(actor=SYSTEM, slug=f"{mark}-stopped", definition=_definition(mark))
        stop = stop_agent(actor=SYSTEM, agent=stopped, environment=environment, reason=mark)
        execution = Execution.objects.create(
            gateway=gateway, gateway_name=gateway.name, environment=environment, epoch=mark, seq=1, execution_id=mark,
            registration=deployment.registration, agent_slug=agent.slug, release_digest=mark, key_id=key.public_id,
            channel="api", started_at=timezone.now(), duration_ms=1, status="succeeded",
        )  # fmt: skip
        price = set_price(
            actor=SYSTEM, profile=f"{mark}-model", currency="EUR", input_per_million=Decimal(1),
            output_per_million=Decimal(2),
        )  # fmt: skip
        # Events are numbered from one in every organization; a number that only acme has reached is acme's own.
        while (last := Event.objects.order_by("-sequence")[0]).sequence <= events:
            record_system_event("user.observe", user)
        assert rollout.to_release is not None
        placement = Placement.objects.filter(gateway=gateway)[0]
        self.agent, self.environment, self.deployment, self.release = agent, environment, deployment, rollout.to_release
        self.by_argument: dict[Argument, Any] = {
            Argument("members", "pk"): user.pk,
            Argument("tokens", "pk"): token.pk,
            Argument("agents", "slug"): agent.slug,
            Argument("agents", "agent__slug"): agent.slug,
            Argument("agents", "agent_slug"): agent.slug,
            Argument("versions", "number"): version.number,
            Argument("environments", "slug"): environment.slug,
            Argument("deploy", "environment"): environment.slug,
            Argument("gateways", "name"): gateway.name,
            Argument("caller-keys", "pk"): key.pk,
            Argument("placements", "pk"): placement.pk,
            Argument("deployments", "pk"): deployment.pk,
            Argument("rollouts", "pk"): rollout.pk,
            Argument("rollout-policies", "environment"): environment.slug,
            Argument("rollouts", "generation"): rollout.generation,
            Argument("deployments", "deployment"): deployment.pk,
            Argument("releases", "pk"): rollout.to_release.pk,
            Argument("executions", "pk"): execution.pk,
            Argument("stops", "public_id"): stop.public_id,
            Argument("stop", "environment"): environment.slug,
            Argument("activity", "subject"): f"24h:agent:{agent.slug}",
            Argument("model-prices", "profile"): price.profile,
            Argument("audit", "sequence"): last.sequence,
            Argument("events", "sequence"): last.sequence,
        }
        self.by_fragment: dict[str, Any] = {
            "gateway": gateway.pk,
            "environment": environment.pk,
            "caller-key": key.pk,
            "deployment": deployment.pk,
            "rollout": rollout.pk,
            "stop": stop.pk,
        }


def _definition(mark: str) -> Definition:
    return Definition(name=f"{mark} agent", description=mark, instructions=f"Say {mark}.")
