"""What a run does, all of it drawn from a seed before it begins: the wishes of people, and what dies meanwhile.

The same seed makes the same plan. Which request meets which fault, and what a death interrupts, also depends on how
fast the machine is; that is what a run is to find out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Act(StrEnum):
    """What a person does."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    CANCEL = "cancel"
    UNDEPLOY = "undeploy"
    ISSUE_KEY = "issue-key"
    REVOKE_KEY = "revoke-key"
    STOP = "stop"
    LIFT = "lift"


class Strategy(StrEnum):
    """How a deploy reaches the gateways: `apps.deployments.strategies.plans.STRATEGIES`."""

    ALL_AT_ONCE = "all-at-once"
    WAVES = "waves"
    CANARY = "canary"


class Victim(StrEnum):
    """What dies.

    Attributes:
        WORKER_CHILD: the process that a worker forked for its tasks.
        WIPED_GATEWAY: a gateway that comes back without its store.
    """

    WORKER = "worker"
    WORKER_CHILD = "worker-child"
    SCANNER = "scanner"
    GATEWAY = "gateway"
    WIPED_GATEWAY = "wiped-gateway"
    BROKER = "broker"
    DATABASE = "database"


@dataclass(frozen=True)
class Wish:
    """One command of one person.

    Attributes:
        at_s: seconds after the round began.
        tenant: whose.
        choices: draws from 0 to 1 that pick environment, agent, version or key among those there are by then.
        strategy: how a deploy reaches the gateways.
        tag: names it in the note of a rollout or as the name of a key; unique in a run.
    """

    at_s: float
    tenant: int
    act: Act
    choices: tuple[float, float, float]
    strategy: Strategy
    tag: str


@dataclass(frozen=True)
class Strike:
    """One death.

    Attributes:
        at_s: seconds after the round began.
        which: a draw from 0 to 1 that picks among several of the kind.
        down_s: after so many seconds a supervisor starts it again.
    """

    at_s: float
    victim: Victim
    which: float
    down_s: float


@dataclass(frozen=True)
class Silence:
    """A gateway's network swallows everything for a while."""

    at_s: float
    which: float
    for_s: float


@dataclass(frozen=True)
class Round:
    """Wishes, deaths among them, and then time to recover."""

    wishes: tuple[Wish, ...]
    strikes: tuple[Strike, ...]
    silences: tuple[Silence, ...]


# As often as people do it.
_ACTS = (
    *[Act.DEPLOY] * 5,
    *[Act.ROLLBACK] * 2,
    Act.CANCEL,
    Act.UNDEPLOY,
    *[Act.ISSUE_KEY] * 2,
    Act.REVOKE_KEY,
    *[Act.STOP] * 2,  # of what is stopped: to lift that
)
_STRATEGIES = (Strategy.ALL_AT_ONCE, Strategy.ALL_AT_ONCE, Strategy.WAVES, Strategy.CANARY)
_ROUND_S = 2.0
_WISHES_A_TENANT = (3, 6)
_MOST_STRIKES = 4


def make_plan(seed: int, *, kills: int, tenants: int) -> list[Round]:
    """The rounds of a run with so many deaths; every kind of death occurs about equally often."""
    draw = random.Random(seed)
    victims = _dealt(draw, kills)
    rounds: list[Round] = []
    while victims:
        count = draw.randint(1, _MOST_STRIKES)
        strikes = [_strike(draw, victim) for victim in victims[:count]]
        del victims[:count]
        rounds.append(
            Round(
                wishes=_wishes(draw, len(rounds), tenants),
                strikes=tuple(sorted(strikes, key=lambda strike: strike.at_s)),
                silences=tuple(_silence(draw) for _ in range(draw.randint(0, 1))),
            )
        )
    return rounds


def _dealt(draw: random.Random, count: int) -> list[Victim]:
    """Victims as cards of shuffled decks, so that a short run has every kind as well."""
    cards: list[Victim] = []
    while len(cards) < count:
        deck = list(Victim)
        draw.shuffle(deck)
        cards += deck
    return cards[:count]


def _wishes(draw: random.Random, number: int, tenants: int) -> tuple[Wish, ...]:
    wishes = [
        Wish(
            at_s=draw.uniform(0, _ROUND_S),
            tenant=tenant,
            act=draw.choice(_ACTS),
            choices=(draw.random(), draw.random(), draw.random()),
            strategy=draw.choice(_STRATEGIES),
            tag=f"wish-{number}-{tenant}-{index}",
        )
        for tenant in range(tenants)
        for index in range(draw.randint(*_WISHES_A_TENANT))
    ]
    return tuple(sorted(wishes, key=lambda wish: wish.at_s))


def _strike(draw: random.Random, victim: Victim) -> Strike:
    return Strike(draw.uniform(0.1, _ROUND_S), victim, draw.random(), draw.uniform(0.1, 1.5))


def _silence(draw: random.Random) -> Silence:
    return Silence(draw.uniform(0, _ROUND_S), draw.random(), draw.uniform(0.5, 4.0))
