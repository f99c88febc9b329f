"""Judging a run: pure functions from what was promised and what was seen to what is wrong. Nothing is wrong: []."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.kinds import API_KEY, STOP, TOMBSTONE_DIGEST
from tests.chaos.plan import Act
from tests.chaos.prober import ACCEPTED, GONE, RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from contract.admin_api import Item
    from tests.chaos.ledger import Ledger, Place
    from tests.chaos.prober import Sighting
    from tests.chaos.recorder import Applied

Thing = tuple[str, str]
"""(kind, name)"""
Stamp = tuple[int, str]
"""(generation, digest)"""

_WRITE_S = 2.0  # between a placement's line in the store and the answer to whoever pushed it, at the very most


@dataclass(frozen=True)
class Row:
    """A placement as the database has it."""

    gateway: str
    kind: str
    name: str
    desired: Stamp
    observed: Stamp


@dataclass(frozen=True)
class Entry:
    """An event of the audit log, as far as it concerns commands of the run."""

    action: str
    resource: str
    result: str


def unsettled(gateway: str, rows: Iterable[Row], items: Iterable[Item]) -> list[str]:
    """Where database and gateway differ: wanted against recorded, and wanted against what the gateway truly holds."""
    held = {(item.kind, item.name): (item.generation, item.digest) for item in items}
    problems = []
    for row in rows:
        what = f"{gateway}: {row.kind} {row.name}"
        if row.observed != row.desired:
            problems.append(f"{what}: wanted {_stamp(row.desired)}, recorded {_stamp(row.observed)}")
        there = held.pop((row.kind, row.name), (0, ""))
        if there != row.desired:
            problems.append(f"{what}: wanted {_stamp(row.desired)}, the gateway holds {_stamp(there)}")
    problems += [f"{gateway}: {kind} {name}: nobody wants it" for kind, name in held]
    return problems


def lost(expected: Mapping[Place, int | None], served: Mapping[Place, Mapping[str, int | None]]) -> list[str]:
    """Promises of which something else came to be: what each gateway serves at last against the ledger alone.

    Args:
        served: by place and gateway, the version that callers get (1 for a key that opens), None for nothing.
    """
    unasked = [f"{place[1]}: no gateway was asked for it" for place in expected if not served.get(place)]
    return unasked + [
        f"{gateway}: {place[1]}: promised {_version(version)}, serves {_version(found)}"
        for place, version in expected.items()
        for gateway, found in served.get(place, {}).items()
        if found != version
    ]


def unstopped(living: Iterable[str], stopped: Mapping[str, Mapping[str, bool]]) -> list[str]:
    """Registrations that run although they were stopped, or are stopped although that was lifted.

    Args:
        living: what is stopped, by the promises alone.
        stopped: by registration and gateway, what callers are told.
    """
    held = set(living)
    return [
        f"{gateway}: {name}: promised {'a stop' if name in held else 'no stop'}, and it {'is' if told else 'is not'}"
        for name, found in stopped.items()
        for gateway, told in found.items()
        if told != (name in held)
    ]


def forgotten(ledger: Ledger, results: Iterable[str], entries: Iterable[Entry]) -> list[str]:
    """Promises that the database forgot or doubled, and events of them that are missing or there twice.

    Args:
        results: ids of all rollouts, keys and stops that the database has of the run.
        entries: all events of the log.
    """
    rows = Counter(results)
    events = Counter((_act_of(entry), entry.result or entry.resource) for entry in entries)
    problems = []
    for promise in ledger.promises:
        told = "" if promise.told else " (found afterwards)"
        if promise.act not in (Act.REVOKE_KEY, Act.LIFT) and rows.pop(promise.result, 0) != 1:
            problems.append(f"{promise.tag}{told}: {promise.act} of {promise.place[1]} is not in the database")
        count = events[promise.act, promise.result]
        if count != 1:
            problems.append(f"{promise.tag}{told}: {promise.act} of {promise.place[1]} has {count} events")
    problems += [f"{result}: nobody was promised it, and it is in the database" for result in rows]
    return problems


def untold(succeeded: Iterable[str], entries: Iterable[Entry]) -> list[str]:
    """Rollouts whose success the log tells not exactly once, or that never succeeded and are said to have."""
    told = Counter(entry.resource for entry in entries if entry.action == "rollout.succeeded")
    problems = [
        f"rollout {key} succeeded, and {count} events say so" for key in succeeded if (count := told.pop(key, 0)) != 1
    ]
    return problems + [f"rollout {key} did not succeed, and an event says so" for key in told]


def applied_twice(history: Iterable[Applied]) -> list[str]:
    """Generations that took effect more than once in one life of a gateway."""
    times = Counter((each.gateway, each.life, each.kind, each.name, each.generation) for each in history)
    return [
        f"{gateway} (life {life}): {kind} {name}: generation {generation} took effect {count} times"
        for (gateway, life, kind, name, generation), count in times.items()
        if count > 1
    ]


def went_back(history: Iterable[Applied]) -> list[str]:
    """Older generations that took effect after newer ones."""
    newest: dict[tuple[str, int, str, str], int] = {}
    problems = []
    for each in history:
        key = (each.gateway, each.life, each.kind, each.name)
        before = newest.get(key, 0)
        if each.generation < before:
            problems.append(
                f"{each.gateway} (life {each.life}): {each.kind} {each.name}: "
                f"generation {each.generation} took effect after {before}"
            )
        newest[key] = max(before, each.generation)
    return problems


def stale(sightings: Iterable[Sighting], history: Sequence[Applied]) -> list[str]:
    """Calls that saw something older than what was recorded as confirmed before they began.

    A confirmed stop holds until it is lifted, also on a gateway that lost it: nothing is put there before it. Of all
    else, nothing can be expected after a wipe until it is there again: until a generation that is new enough took
    effect in the gateway's present life. In its first life, a confirmation of what never took effect is a lie.
    """
    by_thing: dict[tuple[str, int, str, str], list[Applied]] = defaultdict(list)
    for each in history:
        by_thing[each.gateway, each.life, each.kind, each.name].append(each)
    problems = []
    lifted = {(each.name, each.generation) for each in history if each.digest == TOMBSTONE_DIGEST}
    for sighting in sightings:
        if not sighting.floor:
            continue
        if sighting.kind == STOP.name:
            over = any(name == sighting.name and number >= sighting.floor for name, number in lifted)
            if sighting.seen == RUNNING and not over:
                problems.append(f"{sighting.gateway}: the stop {sighting.name} was confirmed, and then it ran again")
            continue
        applied = by_thing[sighting.gateway, sighting.life, sighting.kind, sighting.name]
        enough = [each for each in applied if each.generation >= sighting.floor]
        if sighting.life and not any(each.at + _WRITE_S <= sighting.began for each in enough):
            continue
        if sighting.seen not in {_shows(each) for each in enough}:
            problems.append(
                f"{sighting.gateway} (life {sighting.life}): {sighting.kind} {sighting.name}: generation "
                f"{sighting.floor} was confirmed, and then a caller saw {sighting.seen[:15]}"
            )
    return problems


def _shows(applied: Applied) -> str:
    """What callers see of a generation."""
    if applied.digest == TOMBSTONE_DIGEST:
        return GONE
    return ACCEPTED if applied.kind == API_KEY.name else applied.digest


_ACTIONS = {
    "environment.deploy": Act.DEPLOY,
    "deployment.rollback": Act.ROLLBACK,
    "deployment.cancel": Act.CANCEL,
    "deployment.undeploy": Act.UNDEPLOY,
    "caller-key.create": Act.ISSUE_KEY,
    "caller-key.revoke": Act.REVOKE_KEY,
    "stop.agent": Act.STOP,
    "stop.lift": Act.LIFT,
}


def _act_of(entry: Entry) -> Act | None:
    return _ACTIONS.get(entry.action)


def _stamp(stamp: Stamp) -> str:
    return f"generation {stamp[0]} {stamp[1][:15] or 'nothing'}"


def _version(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"
