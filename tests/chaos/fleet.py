"""Two organizations, their agents and their gateways: each gateway a real process behind a faulty network."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from apps.agents.commands import create, edit, publish
from apps.agents.definitions import Definition
from apps.core.tenancy import tenant as inside
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment
from apps.gateways.signing import private_key
from contract.admin_api import PREFIX, GatewayState
from tests.chaos import recorder
from tests.chaos.ledger import Ledger
from tests.chaos.proxy import FaultyProxy, Network, Weather
from tests.harness.gateway import GatewayProcess
from tests.harness.world import inhabit

if TYPE_CHECKING:
    from uuid import UUID

    from apps.core.actors import Actor
    from contract.caller_keys import KeyText
    from tests.chaos.installation import Installation
    from tests.chaos.recorder import Applied

# Nobody executes anything in a run, so no gateway need import what executions need.
_COLD = {"GATEWAY_WARM": "0"}
NO_MODEL = "http://127.0.0.1:9/v1"
ENVIRONMENTS = ("development", "production")
AGENTS = ("greeter", "planner")
VERSIONS = 5


@dataclass(eq=False)
class Replica:
    """One gateway: its process, the network before it, and what is known of its past lives.

    Attributes:
        life: counts its stores; a wipe begins another.
        past: what was applied in earlier lives.
    """

    name: str
    environment: str
    process: GatewayProcess
    proxy: FaultyProxy
    life: int = 0
    past: list[Applied] = field(default_factory=list)
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10))
    _dying: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start it for the first time or again. Nothing reaches it before its store is watched."""
        self.proxy.cut = True
        self.process.start()
        recorder.install(self.process.data_dir)
        self.proxy.cut = False

    def die(self, *, down_s: float, wipe: bool) -> None:
        """Die at once, stay away for a while, and come back, with the store or without it."""
        with self._dying:
            self.process.kill()
            time.sleep(down_s)
            if wipe:
                self.past += recorder.read(self.process.data_dir, gateway=self.name, life=self.life)
                # The life ends before the store does: whoever looks meanwhile sees two lives and draws no conclusion.
                self.life += 1
                self.process.wipe_store()
            self.start()

    def close(self) -> None:
        """End it for good."""
        self.process.kill()
        self._http.close()

    def history(self) -> list[Applied]:
        """All that ever took effect on it, in order."""
        return self.past + recorder.read(self.process.data_dir, gateway=self.name, life=self.life)

    def state(self) -> GatewayState | None:
        """What it says it holds, asked past the faulty network; None while it is down."""
        headers = {"Authorization": f"Bearer {self.process.token}"}
        try:
            answer = self._http.get(f"{self.process.address}{PREFIX}/state?items=1", headers=headers)
        except httpx.HTTPError:
            return None
        assert answer.status_code == 200, answer.text
        return GatewayState.model_validate_json(answer.content)


@dataclass(eq=False)
class Tenant:
    """One organization of the run.

    Attributes:
        versions: ids of the published versions of each agent; version n is at n - 1.
        probe_keys: a caller key of each environment, never revoked, with which the prober calls.
        texts: texts of the keys that wishes made, by public id.
    """

    index: int
    schema: str
    actor: Actor
    replicas: list[Replica] = field(default_factory=list)
    versions: dict[str, list[UUID]] = field(default_factory=dict)
    probe_keys: dict[str, KeyText] = field(default_factory=dict)
    texts: dict[str, KeyText] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)

    def in_environment(self, environment: str) -> list[Replica]:
        """The environment's gateways."""
        return [replica for replica in self.replicas if replica.environment == environment]


def settle_in(
    installation: Installation, network: Network, *, tenants: int, gateways: int, seed: int, weather: Weather
) -> list[Tenant]:
    """Found the organizations, publish their agents, start and register their gateways."""
    found = [_found(index) for index in range(tenants)]
    for number in range(gateways):
        _add_replica(found[number % tenants], number, installation, network, seed, weather)
    replicas = [replica for each in found for replica in each.replicas]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Replica.start, replicas))
    for each in found:
        with inside(each.schema):
            _register(each)
    return found


def _found(index: int) -> Tenant:
    world = inhabit(("acme", "globex", "initech", "umbrella")[index])
    found = Tenant(index, world.schema, world.actor("owner"))
    with inside(world.schema):
        for slug in AGENTS:
            found.versions[slug] = _publish(found.actor, slug)
        for environment in ENVIRONMENTS:
            row = Environment.objects.get(slug=environment)
            _, found.probe_keys[environment] = create_key(actor=found.actor, environment=row, name="prober")
    return found


def _publish(actor: Actor, slug: str) -> list[UUID]:
    """Make an agent and publish some versions of it, each of which is another release."""
    definitions = [Definition(name=slug.title(), instructions=f"Greet {number} times.") for number in range(VERSIONS)]
    agent = create(actor=actor, slug=slug, definition=definitions[0])
    published = [publish(actor=actor, agent=agent).pk]
    for definition in definitions[1:]:
        agent.refresh_from_db()
        agent = edit(actor=actor, agent=agent, revision=agent.revision, definition=definition)
        published.append(publish(actor=actor, agent=agent).pk)
    return published


def _add_replica(
    owner: Tenant, number: int, installation: Installation, network: Network, seed: int, weather: Weather
) -> None:
    name = f"gateway-{number}"
    with inside(owner.schema):
        key = private_key()
    process = GatewayProcess(
        installation.folder / name, NO_MODEL, organization_key=key, extra=installation.marked(_COLD)
    )
    proxy = network.proxy(process.port, f"{seed}-{name}", weather)
    environment = ENVIRONMENTS[len(owner.replicas) % len(ENVIRONMENTS)]
    owner.replicas.append(Replica(name, environment, process, proxy))


def _register(owner: Tenant) -> None:
    for replica in owner.replicas:
        register_gateway(
            actor=owner.actor,
            environment=Environment.objects.get(slug=replica.environment),
            name=replica.name,
            address=replica.proxy.address,
            deploy_token=replica.process.token,
        )
