"""How long one deploy takes to reach a whole fleet, against the least that it could take.

Real gateway processes, PostgreSQL, Valkey, Celery worker and scanner. A deploy is measured from before its command
commits until every acknowledgement is seen in the database. The *floor* is the same number of PUTs with the same
release, signed beforehand and sent all at once by plain httpx, in turn with the deploys: what is left of a deploy when
nobody decides, records or retries anything.

Prints `{"gateways", "p50_ms", "p95_ms", "max_ms", "floor_p50_ms", "ratio", "idle_scanner_cpu_percent",
"polling_scanner_cpu_percent"}`; the scanner's use of one core is measured once with nothing due at all, and once while
it polls all gateways at the default interval. `KAIZEN_BENCH_GATEWAYS` and `KAIZEN_BENCH_DEPLOYS` change the numbers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from benchmarks._studio import migrate, percentile, say, scanner, show, wait_until, worker

# isort: split
from django.db.models import F
from django.utils import timezone

from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.core.actors import Actor
from apps.core.commands import completing
from apps.deployments.commands import deploy
from apps.deployments.releases import release_of
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.signing import private_key
from contract.admin_api import PREFIX, PutRequest
from contract.canonical import canonical_json
from contract.kinds import WORKFLOW
from contract.release import Release
from tests.harness.gateway import GatewayProcess
from tests.harness.world import settled

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from apps.agents.models import AgentVersion

GATEWAYS = int(os.environ.get("KAIZEN_BENCH_GATEWAYS", "50"))
DEPLOYS = int(os.environ.get("KAIZEN_BENCH_DEPLOYS", "20"))
_IDLE_S, _POLLING_S = 20.0, 30.0
_SYSTEM = Actor.system("benchmark")
# Nothing is executed, so no model answers.
_NO_MODEL = "http://127.0.0.1:9/v1"
_NAME = "floor-production"


def main() -> None:
    """Measure, and print one line of JSON."""
    migrate()
    with settled(), scanner() as scanning, tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        idle = scanning.cpu_percent(_IDLE_S)
        say(f"scanner with nothing due: {idle:.2f} % of a core")
        processes = _start_gateways(Path(folder))
        try:
            with worker():
                polling = scanning.cpu_percent(_POLLING_S)
                say(f"scanner polling {GATEWAYS} gateways: {polling:.2f} % of a core")
                deploys, floors = _measure(processes)
        finally:
            for process in processes.values():
                process.kill()
    middle, floor = percentile(deploys, 50), percentile(floors, 50)
    show({
        "gateways": GATEWAYS,
        "p50_ms": round(middle, 1), "p95_ms": round(percentile(deploys, 95), 1), "max_ms": round(max(deploys), 1),
        "floor_p50_ms": round(floor, 1), "ratio": round(middle / floor, 2),
        "idle_scanner_cpu_percent": round(idle, 2), "polling_scanner_cpu_percent": round(polling, 2),
    })  # fmt: skip


def _start_gateways(folder: Path) -> dict[str, GatewayProcess]:
    """Start the gateways, register them in production, and wait until Studio has seen each of them."""
    say(f"starting {GATEWAYS} gateway processes")
    key = private_key()
    processes = {
        f"gw-{number}": GatewayProcess(
            folder / f"gw-{number}", _NO_MODEL, organization_key=key, extra={"GATEWAY_WARM": "0"}
        )
        for number in range(1, GATEWAYS + 1)
    }
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(GatewayProcess.start, processes.values()))
    production = Environment.objects.get(slug="production")
    for name, process in processes.items():
        register_gateway(
            actor=_SYSTEM, environment=production, name=name, address=process.address, deploy_token=process.token
        )
    wait_until(lambda: Gateway.objects.filter(status="healthy").count() == GATEWAYS, 60)
    return processes


def _measure(processes: dict[str, GatewayProcess]) -> tuple[list[float], list[float]]:
    """Deploys and floors in turn, each in milliseconds."""
    production = Environment.objects.get(slug="production")
    deploys, floors = [], []
    with Floor(processes) as floor:
        for number, version in enumerate(_versions(DEPLOYS + 1)):
            floors.append(floor.put_everywhere(version))
            deploys.append(_deploy(production, version))
            say(f"deploy {number}: {deploys[-1]:.0f} ms, floor {floors[-1]:.0f} ms")
    # The first of each opens connections and fills caches.
    return deploys[1:], floors[1:]


def _versions(count: int) -> list[AgentVersion]:
    """Published versions of one agent, with instructions as long as people write them."""
    text = "You answer customers of a bank. Be short, be kind, never guess; when in doubt, pass them on to a person. "
    definitions = [Definition(name="Teller", instructions=f"{text * 20}Edition {number}.") for number in range(count)]
    agent = agents.create(actor=_SYSTEM, slug="teller", definition=definitions[0])
    versions = []
    for definition in definitions:
        agent.refresh_from_db()
        agents.edit(actor=_SYSTEM, agent=agent, revision=agent.revision, definition=definition)
        versions.append(agents.publish(actor=_SYSTEM, agent=agent))
    return versions


def _deploy(environment: Environment, version: AgentVersion) -> float:
    """Deploy to all gateways; milliseconds from just before the commit until all have acknowledged."""
    digest = release_of(version).digest
    committing: list[float] = []
    with completing(lambda _: committing.append(time.perf_counter())):
        rollout = deploy(actor=_SYSTEM, environment=environment, version=version)
    name = rollout.deployment.registration
    wanted = Placement.objects.settled().of(WORKFLOW.name, name).filter(desired_digest=digest)
    wait_until(lambda: wanted.count() == GATEWAYS, 60, every_s=0.004)
    return (time.perf_counter() - committing[0]) * 1000


class Floor:
    """The same PUTs by plain httpx, under a name of their own.

    Studio knows that name as something that another worker has leased, so that polls leave it alone meanwhile and find
    nothing strange afterwards.
    """

    def __init__(self, processes: dict[str, GatewayProcess]) -> None:
        self._processes = processes
        self._gateways = list(Gateway.objects.all())
        self._generation = 0
        self._rows = Placement.objects.of(WORKFLOW.name, _NAME)
        self._runner = asyncio.Runner()
        # A gateway closes connections that idle for 5 s; one of those would be an error and no measurement.
        limits = httpx.Limits(max_connections=None, keepalive_expiry=2)
        self._client = httpx.AsyncClient(limits=limits, timeout=60)

    def __enter__(self) -> Self:
        leased = {"observed_digest": "", "desired_digest": "", "lease_until": _far(), "desired_generation": 0}
        Placement.objects.bulk_create(
            Placement(gateway=gateway, kind=WORKFLOW.name, name=_NAME, **leased) for gateway in self._gateways
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def put_everywhere(self, version: AgentVersion) -> float:
        """Send the version's release to all gateways at once; milliseconds until all have answered."""
        self._generation += 1
        release = Release.parse(bytes(release_of(version).body))
        key = private_key()
        requests = [self._request(gateway, release, key) for gateway in self._gateways]
        self._rows.update(lease_until=_far(), fence=F("fence") + 1)
        began = time.perf_counter()
        self._runner.run(self._send(requests))
        took_ms = (time.perf_counter() - began) * 1000
        stamp = {"generation": self._generation, "digest": release.digest}
        seen = {f"{side}_{what}": value for side in ("desired", "observed") for what, value in stamp.items()}
        self._rows.update(**seen, lease_until=None)
        Gateway.objects.update(state_digest="")
        return took_ms

    def _request(self, gateway: Gateway, release: Release, key: Ed25519PrivateKey) -> httpx.Request:
        put = PutRequest.signed(
            WORKFLOW, _NAME, release, gateway=gateway.gateway_id, generation=self._generation, key=key
        )
        return self._client.build_request(
            "PUT",
            f"{gateway.address}{PREFIX}/{WORKFLOW.segment}/{_NAME}",
            content=canonical_json(put.body(WORKFLOW)),
            headers={
                "Authorization": f"Bearer {self._processes[gateway.name].token}",
                "Content-Type": "application/json",
            },
        )

    async def _send(self, requests: list[httpx.Request]) -> None:
        for answer in await asyncio.gather(*(self._put(request) for request in requests)):
            answer.raise_for_status()

    async def _put(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request)
        except httpx.TransportError as error:
            # As anybody would who sends what may be sent twice; the measurement includes it.
            say(f"floor: {type(error).__name__}, sent again")
            return await self._client.send(request)


def _far() -> datetime:
    return timezone.now() + timedelta(minutes=1)


if __name__ == "__main__":
    main()
