"""What the database and the gateways say in the end; read past the faulty network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from apps.audit.chain import verify
from apps.audit.models import Event
from apps.deployments.models import Rollout, Stop
from apps.gateways.models import CallerKey, Placement
from tests.chaos import checks
from tests.chaos.checks import Entry, Row
from tests.chaos.studio import patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.fleet import Replica, Tenant
    from tests.chaos.ledger import Place


@dataclass(frozen=True)
class Evidence:
    """What one organization's database and gateways hold after a run.

    Attributes:
        served: by place and gateway, the version that callers get (1 for a key that opens), None for nothing.
        stopped: by registration and gateway, whether callers are told that it is stopped; without what is not there.
        results: ids of all rollouts, of all stops, and of all keys that wishes made.
        entries: the log.
        succeeded: ids of the rollouts that have succeeded.
    """

    served: dict[Place, dict[str, int | None]]
    stopped: dict[str, dict[str, bool]]
    results: list[str]
    entries: list[Entry]
    succeeded: list[str]
    chain_problems: list[str]


def unsettled(tenants: Sequence[Tenant]) -> list[str]:
    """What is not as wanted, anywhere. Gateways are only asked once the database believes that all is well."""
    problems: list[str] = []
    wanted: list[tuple[Replica, list[Row]]] = []
    for tenant in tenants:
        rows = patiently(tenant.schema, lambda: _rows())
        if any(row.desired != row.observed for row in rows):
            problems += patiently(tenant.schema, _waiting)
        wanted += [(replica, [row for row in rows if row.gateway == replica.name]) for replica in tenant.replicas]
    if problems:
        return problems
    with ThreadPoolExecutor(4) as pool:
        return [problem for found in pool.map(_compare, wanted) for problem in found]


def unfinished(tenants: Sequence[Tenant]) -> list[str]:
    """Rollouts that are still under way."""
    return [rollout for tenant in tenants for rollout in patiently(tenant.schema, _progressing)]


def _progressing() -> list[str]:
    rollouts = Rollout.objects.filter(state=Rollout.State.PROGRESSING).select_related("deployment__agent")
    return [f"{rollout} has not finished" for rollout in rollouts.select_related("deployment__environment")]


def _compare(wanted: tuple[Replica, list[Row]]) -> list[str]:
    replica, rows = wanted
    state = replica.state()
    if state is None:
        return [f"{replica.name} does not answer"]
    return checks.unsettled(replica.name, rows, state.items or [])


def _waiting() -> list[str]:
    """What is not confirmed, and what Studio tells people about it."""
    waiting = Placement.objects.unsettled().select_related("gateway")
    return [f"{each.gateway}: {each.kind} {each.name}: {each.reason()} ({each.attempts} attempts)" for each in waiting]


def _rows() -> list[Row]:
    fields = ("gateway__name", "kind", "name", "desired_generation", "desired_digest", "observed_generation",
              "observed_digest")  # fmt: skip
    return [
        Row(gateway, kind, name, (wanted, wanted_digest), (seen, seen_digest))
        for gateway, kind, name, wanted, wanted_digest, seen, seen_digest in Placement.objects.values_list(*fields)
    ]


def gather(tenant: Tenant) -> Evidence:
    """Everything that a tenant's run is judged by."""
    return Evidence(
        served=_served(tenant),
        stopped=_stopped(tenant),
        results=patiently(tenant.schema, _results),
        entries=patiently(tenant.schema, _entries),
        succeeded=patiently(tenant.schema, _succeeded),
        chain_problems=patiently(tenant.schema, _chain_problems),
    )


def _results() -> list[str]:
    rollouts = Rollout.objects.values_list("pk", flat=True)
    keys = CallerKey.objects.exclude(name="prober").values_list("pk", flat=True)
    return [str(key) for key in [*rollouts, *keys, *Stop.objects.values_list("pk", flat=True)]]


def _succeeded() -> list[str]:
    return [str(key) for key in Rollout.objects.filter(state=Rollout.State.SUCCEEDED).values_list("pk", flat=True)]


def _entries() -> list[Entry]:
    rows = Event.objects.filter(outcome="succeeded").values_list("action", "resource_id", "detail")
    return [Entry(action, resource, detail.get("result", {}).get("id", "")) for action, resource, detail in rows]


def _chain_problems() -> list[str]:
    found = verify()
    return [] if found.broken_at is None else [f"event {found.broken_at} {found.problem}"]


def _served(tenant: Tenant) -> dict[Place, dict[str, int | None]]:
    """Ask every gateway for everything that was ever promised of it, as an application would."""
    served: dict[Place, dict[str, int | None]] = {}
    with httpx.Client(timeout=10) as http:
        for place in tenant.ledger.expected():
            for replica in tenant.in_environment(place[0]):
                served.setdefault(place, {})[replica.name] = _ask(http, tenant, replica, place)
    return served


def _stopped(tenant: Tenant) -> dict[str, dict[str, bool]]:
    """Ask every gateway for everything that was ever deployed on it, whether it is stopped."""
    stopped: dict[str, dict[str, bool]] = {}
    with httpx.Client(timeout=10) as http:
        for environment, registration in tenant.ledger.deployed:
            key = tenant.probe_keys[environment]
            for replica in tenant.in_environment(environment):
                path = f"{replica.process.address}/workflows/{registration}"
                answer = http.get(path, headers={"Authorization": f"Bearer {key.text}"})
                if answer.status_code == 200:
                    stopped.setdefault(registration, {})[replica.name] = answer.json()["stopped"]
    return stopped


def _ask(http: httpx.Client, tenant: Tenant, replica: Replica, place: Place) -> int | None:
    if place in tenant.ledger.keys:
        text = tenant.texts.get(place[1])
        if text is None:
            # Its command's connection broke, so nobody ever saw it. The gateway's items say whether it lives.
            return _key_lives(replica, place[1])
        answer = http.get(f"{replica.process.address}/workflows", headers={"Authorization": f"Bearer {text.text}"})
        assert answer.status_code in (200, 401), answer.text
        return 1 if answer.status_code == 200 else None
    key = tenant.probe_keys[replica.environment]
    answer = http.get(
        f"{replica.process.address}/workflows/{place[1]}", headers={"Authorization": f"Bearer {key.text}"}
    )
    assert answer.status_code in (200, 404), answer.text
    return int(answer.json()["version"]) if answer.status_code == 200 else None


def _key_lives(replica: Replica, public_id: str) -> int | None:
    state = replica.state()
    assert state is not None, f"{replica.name} does not answer"
    return next((None if item.tombstone else 1 for item in state.items or [] if item.name == public_id), None)
