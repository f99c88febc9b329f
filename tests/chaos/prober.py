"""An application that never stops calling: what does each gateway serve, and what had Studio recorded before?"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
from django.db import connection

from apps.core.tenancy import tenant as inside
from apps.gateways.models import Placement
from contract.kinds import API_KEY, STOP, WORKFLOW
from contract.names import registration_name
from tests.chaos.fleet import AGENTS
from tests.chaos.studio import AWAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contract.caller_keys import KeyText
    from tests.chaos.fleet import Replica, Tenant

ACCEPTED, GONE = "accepted", "gone"
STOPPED, RUNNING = "stopped", "running"
_PAUSE_S = 0.2
_CALL_S = 3.0


@dataclass(frozen=True)
class Sighting:
    """What one call saw.

    Attributes:
        life: of the gateway's store during the whole call.
        began: in seconds since 1970.
        floor: the generation that the database had recorded as confirmed before the call began; 0 for none.
        seen: digest of the release that is served, `ACCEPTED` for a key that opens, `GONE` for neither;
            `STOPPED` or `RUNNING` for the registration that a stop is about; or a status that no caller should get.
    """

    gateway: str
    life: int
    kind: str
    name: str
    began: float
    floor: int
    seen: str


@dataclass(eq=False)
class Prober:
    """Calls every gateway round and round, past the faulty network, with real caller keys."""

    tenants: Sequence[Tenant]
    seed: int
    sightings: list[Sighting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}-prober")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober")
        self._floors: dict[tuple[str, str, str], int] = {}
        self._http = httpx.Client(timeout=_CALL_S)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and raise what ended it before its time, if anything did."""
        self._stopping.set()
        self._thread.join()
        self._http.close()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_PAUSE_S):
                for tenant in self.tenants:
                    self._read_floors(tenant)
                    for replica in tenant.replicas:
                        self._probe(tenant, replica)
        except BaseException as error:
            self.failure = error
        finally:
            connection.close()

    def _read_floors(self, tenant: Tenant) -> None:
        """What is confirmed by now. While the database is away, what was confirmed before stays so."""
        try:
            with inside(tenant.schema):
                rows = Placement.objects.filter(kind__in=[WORKFLOW.name, API_KEY.name, STOP.name])
                for gateway, kind, name, generation in rows.values_list(
                    "gateway__name", "kind", "name", "observed_generation"
                ):
                    # A stop holds on a gateway that lost it, too: until it has it again, nothing else is put there.
                    before = self._floors.get((gateway, kind, name), 0) if kind == STOP.name else 0
                    self._floors[gateway, kind, name] = max(before, generation)
        except AWAY:
            connection.close()

    def _probe(self, tenant: Tenant, replica: Replica) -> None:
        key = tenant.probe_keys[replica.environment]
        for agent in AGENTS:
            registration = registration_name(agent, replica.environment)
            stops = [place for place, name in list(tenant.ledger.stopped.items()) if name == registration]
            self._call(replica, WORKFLOW.name, registration, key, stops=[public_id for _, public_id in stops])
        self._call(replica, API_KEY.name, key.id, key)
        keys = [name for (environment, name) in list(tenant.ledger.keys) if environment == replica.environment]
        known = [name for name in keys if name in tenant.texts]
        if known:
            name = self._random.choice(known)
            self._call(replica, API_KEY.name, name, tenant.texts[name])

    def _call(self, replica: Replica, kind: str, name: str, key: KeyText, *, stops: Sequence[str] = ()) -> None:
        life, began = replica.life, time.time()
        floor = self._floors.get((replica.name, kind, name), 0)
        path = f"/workflows/{name}" if kind == WORKFLOW.name else "/workflows"
        try:
            answer = self._http.get(f"{replica.process.address}{path}", headers={"Authorization": f"Bearer {key.text}"})
        except httpx.HTTPError:
            return
        seen = _meaning(kind, answer)
        if seen is None or replica.life != life:
            return
        self.sightings.append(Sighting(replica.name, life, kind, name, began, floor, seen))
        if answer.status_code == 200:
            for stop in stops:
                floor = self._floors.get((replica.name, STOP.name, stop), 0)
                state = STOPPED if answer.json()["stopped"] else RUNNING
                self.sightings.append(Sighting(replica.name, life, STOP.name, stop, began, floor, state))


def _meaning(kind: str, answer: httpx.Response) -> str | None:
    """What an answer says about the thing asked for; None if nothing."""
    status = answer.status_code
    if kind == API_KEY.name:
        return {200: ACCEPTED, 401: GONE}.get(status, f"status {status}")
    if status == 401:
        # About the prober's own key, which a wiped gateway does not know yet; it is looked at for itself.
        return None
    if status == 200:
        release: str = answer.json()["release"]
        return release
    return GONE if status == 404 else f"status {status}"
