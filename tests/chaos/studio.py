"""What this process does as Studio's web process would: commands, and reading while the database comes and goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q

from apps.agents.models import Agent, AgentVersion
from apps.core.errors import Conflict
from apps.core.tenancy import tenant as inside
from apps.deployments.commands import cancel, deploy, lift_stop, resume, rollback, stop_agent, undeploy
from apps.deployments.models import Deployment, Release, Rollout, Stop
from apps.deployments.strategies.plans import ALL_AT_ONCE, Plan, PlannedStep, Share
from apps.gateways.commands import create_key, revoke_key
from apps.gateways.models import CallerKey, Environment
from contract.names import registration_name, split_registration_name
from tests.chaos.fleet import AGENTS, ENVIRONMENTS, VERSIONS
from tests.chaos.ledger import Deployed, Promise
from tests.chaos.plan import Act, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.chaos.fleet import Tenant
    from tests.chaos.ledger import Place
    from tests.chaos.plan import Wish

T = TypeVar("T")
# Soaks as short as they can be: what a run waits for are steps, not clocks.
PLANS = {
    Strategy.ALL_AT_ONCE: ALL_AT_ONCE,
    Strategy.WAVES: Plan("waves", (PlannedStep(Share(count=1), soak_s=1), PlannedStep(Share(percent=100)))),
    Strategy.CANARY: Plan("canary", (PlannedStep(Share(percent=25), soak_s=1), PlannedStep(Share(percent=100)))),
}
AWAY = (OperationalError, InterfaceError)
_PATIENCE_S = 60.0


def patiently(schema: str, ask: Callable[[], T]) -> T:
    """Ask the database inside a tenant, again and again while it is away. Only for what may be done twice.

    Raises:
        OperationalError: it was away for too long.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with inside(schema):
                return ask()
        except AWAY:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def fulfil(owner: Tenant, wish: Wish) -> None:
    """Do what a wish asks through the product's command, and note in the ledger what was promised by it."""
    try:
        with inside(owner.schema):
            promise = _act(owner, wish)
    except Conflict:
        owner.ledger.refused += 1
        return
    except AWAY:
        connection.close()
        promise = patiently(owner.schema, lambda: _find(owner, wish))
    if promise is None:
        owner.ledger.vanished += 1
    else:
        owner.ledger.add(promise)


def _act(owner: Tenant, wish: Wish) -> Promise | None:
    if wish.act is Act.ISSUE_KEY:
        return _issue(owner, wish)
    if wish.act is Act.REVOKE_KEY:
        return _revoke(owner, wish)
    if wish.act is Act.STOP:
        return _stop_or_lift(owner, wish)
    place = _place(wish)
    act, version = _decide(owner.ledger.deployed.get(place, Deployed()), wish)
    rollout = _change(owner, wish, act, place, version)
    if act is Act.CANCEL:
        # What a rollout leaves its gateways with until their turn depends on how far it came.
        version = _number(rollout)
    return Promise(wish.tag, act, place, version, str(rollout.pk))


def _decide(now: Deployed, wish: Wish) -> tuple[Act, int | None]:
    """What the wish comes to, by the promises so far: where there is nothing to take back, something is deployed."""
    if wish.act is Act.CANCEL and now.ran:
        return Act.CANCEL, None
    if wish.act is Act.UNDEPLOY and now.version is not None:
        return Act.UNDEPLOY, None
    earlier = [version for version in now.ran if version != now.version]
    if wish.act is Act.ROLLBACK and earlier:
        return Act.ROLLBACK, pick(earlier, wish.choices[2])
    others = [version for version in range(1, VERSIONS + 1) if version != now.version]
    return Act.DEPLOY, pick(others, wish.choices[2])


def _change(owner: Tenant, wish: Wish, act: Act, place: Place, version: int | None) -> Rollout:
    """Run the command."""
    if act is Act.DEPLOY:
        assert version is not None
        return deploy(
            actor=owner.actor,
            environment=Environment.objects.get(slug=place[0]),
            version=AgentVersion.objects.get(pk=owner.versions[_slug(place)][version - 1]),
            note=wish.tag,
            release_hold=True,
            plan=PLANS[wish.strategy],
        )
    deployment = Deployment.objects.get(registration=place[1])
    if act is Act.CANCEL:
        return cancel(actor=owner.actor, deployment=deployment, note=wish.tag)
    if act is Act.UNDEPLOY:
        return undeploy(actor=owner.actor, deployment=deployment, note=wish.tag)
    assert version is not None
    to = Release.objects.get(agent_version__agent__slug=_slug(place), agent_version__number=version)
    return rollback(actor=owner.actor, deployment=deployment, to=to, note=wish.tag)


def _issue(owner: Tenant, wish: Wish) -> Promise:
    environment = pick(ENVIRONMENTS, wish.choices[0])
    row = Environment.objects.get(slug=environment)
    key, text = create_key(actor=owner.actor, environment=row, name=wish.tag)
    owner.texts[key.public_id] = text
    return Promise(wish.tag, Act.ISSUE_KEY, (environment, key.public_id), 1, str(key.pk))


def _revoke(owner: Tenant, wish: Wish) -> Promise | None:
    place = _key_to_revoke(owner, wish)
    if place is None:
        return None
    key = CallerKey.objects.get(public_id=place[1])
    revoke_key(actor=owner.actor, key=key)
    return Promise(wish.tag, Act.REVOKE_KEY, place, None, str(key.pk))


def _key_to_revoke(owner: Tenant, wish: Wish) -> Place | None:
    living = [place for place, lives in owner.ledger.keys.items() if lives]
    return pick(living, wish.choices[0]) if living else None


def _stop_or_lift(owner: Tenant, wish: Wish) -> Promise:
    environment, registration = _place(wish)
    living = owner.ledger.stops.get(registration)
    if living is not None:
        stop = lift_stop(actor=owner.actor, stop=Stop.objects.get(public_id=living[1]), reason=wish.tag)
        return Promise(wish.tag, Act.LIFT, living, None, str(stop.pk), stops=registration)
    stop = stop_agent(
        actor=owner.actor,
        agent=Agent.objects.get(slug=split_registration_name(registration).slug),
        environment=Environment.objects.get(slug=environment),
        reason=wish.tag,
    )
    return Promise(wish.tag, Act.STOP, (environment, stop.public_id), 1, str(stop.pk), stops=registration)


def go_on(owner: Tenant) -> None:
    """Do what people do after an incident with the rollouts that a stop has paused: lift it, and resume them."""
    with inside(owner.schema):
        paused = Rollout.objects.filter(state=Rollout.State.PROGRESSING).exclude(paused_at=None)
        for rollout in paused.select_related("deployment"):
            registration = rollout.deployment.registration
            living = owner.ledger.stops.get(registration)
            if living is not None:
                tag = f"lifted for {rollout.pk}"
                stop = lift_stop(actor=owner.actor, stop=Stop.objects.get(public_id=living[1]), reason=tag)
                owner.ledger.add(Promise(tag, Act.LIFT, living, None, str(stop.pk), stops=registration))
            resume(actor=owner.actor, deployment=rollout.deployment)


def _find_stop(wish: Wish) -> Promise | None:
    environment, registration = _place(wish)
    stop = Stop.objects.filter(Q(reason=wish.tag) | Q(lift_reason=wish.tag)).first()
    if stop is None:
        return None
    act, version = (Act.STOP, 1) if stop.reason == wish.tag else (Act.LIFT, None)
    place = (environment, stop.public_id)
    return Promise(wish.tag, act, place, version, str(stop.pk), told=False, stops=registration)


def _find(owner: Tenant, wish: Wish) -> Promise | None:
    """What a command left whose connection broke: everything or nothing, since it is one transaction."""
    if wish.act is Act.ISSUE_KEY:
        made = CallerKey.objects.filter(name=wish.tag).select_related("environment").first()
        if made is None:
            return None
        return Promise(wish.tag, wish.act, (made.environment.slug, made.public_id), 1, str(made.pk), told=False)
    if wish.act is Act.REVOKE_KEY:
        place = _key_to_revoke(owner, wish)
        key = CallerKey.objects.exclude(revoked_at=None).filter(public_id=place[1] if place else "").first()
        return Promise(wish.tag, wish.act, place, None, str(key.pk), told=False) if key and place else None
    if wish.act is Act.STOP:
        return _find_stop(wish)
    rollout = Rollout.objects.filter(note=wish.tag).select_related("to_release__agent_version").first()
    if rollout is None:
        return None
    # To send again what runs is a deploy as well.
    act = Act.DEPLOY if rollout.kind == Rollout.Kind.REDEPLOY else Act(rollout.kind)
    return Promise(wish.tag, act, _place(wish), _number(rollout), str(rollout.pk), told=False)


def _number(rollout: Rollout) -> int | None:
    """The version that a rollout leads to."""
    return rollout.to_release.number if rollout.to_release else None


def _place(wish: Wish) -> Place:
    environment, slug = pick(ENVIRONMENTS, wish.choices[0]), pick(AGENTS, wish.choices[1])
    return environment, registration_name(slug, environment)


def _slug(place: Place) -> str:
    return split_registration_name(place[1]).slug


def pick(among: Sequence[T], draw: float) -> T:
    """The element that a draw from 0 to 1 falls upon."""
    return among[int(draw * len(among))]
