"""What pages and the API read of environments, gateways and keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.audit.models import Event
from apps.gateways.models import CallerKey, Gateway, GatewayReading, Placement
from apps.gateways.models.gateways import minute_of
from contract.kinds import API_KEY, TOMBSTONE_DIGEST, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet

    from apps.gateways.models import Environment
    from apps.gateways.models.environments import EnvironmentQuerySet

ANSWERING = (Gateway.Status.HEALTHY, Gateway.Status.DEGRADED)
HISTORY = timedelta(hours=3)


def environments_with_counts(environments: EnvironmentQuerySet) -> EnvironmentQuerySet:
    """Annotate how many gateways there are, how many of them answer, and how many keys live."""
    living = Q(caller_keys__revoked_at=None, caller_keys__ephemeral=False) & (
        Q(caller_keys__expires_at=None) | Q(caller_keys__expires_at__gt=timezone.now())
    )
    return environments.annotate(
        gateways_total=Count("gateways", distinct=True),
        gateways_answering=Count("gateways", filter=Q(gateways__status__in=ANSWERING), distinct=True),
        keys_living=Count("caller_keys", filter=living, distinct=True),
    )


def environment_status(total: int, answering: int) -> tuple[str, str]:
    """Adjective and reason of an environment, from its gateways."""
    if not total:
        return "empty", "no gateway is registered, so nothing can run here"
    if answering == total:
        return "healthy", "its gateway answers" if total == 1 else f"all {total} gateways answer"
    if not answering:
        return "unreachable", "its gateway does not answer" if total == 1 else f"none of {total} gateways answers"
    return "degraded", f"{answering} of {total} gateways answer"


def gateways_with_waiting(gateways: QuerySet[Gateway]) -> QuerySet[Gateway]:
    """Annotate how much of what each gateway should hold is not yet, or no longer, there."""
    own = Placement.objects.unsettled().filter(gateway=OuterRef("pk")).order_by().values("gateway")
    count = Subquery(own.annotate(count=Count("pk")).values("count"), output_field=IntegerField())
    return gateways.annotate(waiting=Coalesce(count, 0))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Whether one gateway holds a key as it should be.

    Attributes:
        since: when it confirmed; None if it has not.
        reason: why not, and when it is tried again; or what it confirmed.
    """

    gateway: Gateway
    confirmed: bool
    reason: str
    since: datetime | None


def confirmations(key: CallerKey) -> list[Confirmation]:
    """Every gateway that the key concerns, those that have not confirmed first."""
    placements = Placement.objects.of(API_KEY.name, key.public_id).explained()
    now = timezone.now()
    found = [
        Confirmation(
            placement.gateway,
            placement.settled,
            placement.reason(now),
            placement.condition.since if placement.settled and placement.condition else None,
        )
        for placement in placements
    ]
    return sorted(found, key=lambda each: (each.confirmed, each.gateway.name))


def key_status(key: CallerKey, gateways: list[Confirmation]) -> tuple[str, str]:
    """Adjective and reason of a key, from what its gateways confirmed."""
    missing = [each.gateway.name for each in gateways if not each.confirmed]
    named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    if key.revoked_at is not None:
        if missing:
            return "revoking", f"{named} {'has' if len(missing) == 1 else 'have'} not confirmed yet"
        return "revoked", "every gateway has confirmed" if gateways else "no gateway ever had it"
    if key.state == "expired":
        return "expired", "gateways refuse it since"
    if not gateways:
        return "waiting", f"there is no gateway in {key.environment} yet"
    if missing:
        return "progressing", f"{len(gateways) - len(missing)} of {len(gateways)} gateways accept it; not yet: {named}"
    return key.state, "its gateway accepts it" if len(gateways) == 1 else f"all {len(gateways)} gateways accept it"


def titles_of(placements: Iterable[Placement]) -> dict[str, str]:
    """What people call the keys among the placements, by public id; registrations are called by their names."""
    ids = [placement.name for placement in placements if placement.kind == API_KEY.name]
    return dict(CallerKey.objects.filter(public_id__in=ids).values_list("public_id", "name"))


def keys_with_unconfirmed(keys: QuerySet[CallerKey]) -> QuerySet[CallerKey]:
    """Annotate on how many gateways each key is not yet as it should be."""
    here = Placement.objects.unsettled().filter(kind=API_KEY.name, name=OuterRef("public_id")).order_by().values("name")
    count = Subquery(here.annotate(count=Count("pk")).values("count"), output_field=IntegerField())
    return keys.annotate(unconfirmed=Coalesce(count, 0))


def registrations_in(environment: Environment) -> list[str]:
    """Names that run, or are to run, somewhere in the environment."""
    rows = Placement.objects.filter(kind=WORKFLOW.name, gateway__environment=environment)
    return sorted(set(rows.exclude(desired_digest=TOMBSTONE_DIGEST).values_list("name", flat=True)))


def events_of_gateway(gateway: Gateway) -> QuerySet[Event]:
    """What happened to a gateway, with the command that registered it, which acted on the environment."""
    key = str(gateway.pk)
    return Event.objects.filter(
        Q(resource_type="gateway", resource_id=key) | Q(action="gateway.register", detail__result__id=key)
    )


def shown_status(gateway: Gateway) -> tuple[str, str]:
    """Adjective and reason of a gateway, for people."""
    if gateway.leaving_at is None:
        return gateway.status, gateway.status_reason
    left = Placement.objects.unsettled().filter(gateway=gateway).count()
    things = "1 thing has" if left == 1 else f"{left} things have"
    if not gateway.reachable:
        return "removing", f"{things} still to be taken off it, and {gateway.status_reason}"
    return "removing", f"{things} still to be taken off it" if left else "is empty and about to be forgotten"


def history_chart(gateway: Gateway) -> dict[str, Any]:
    """The last hours of a gateway, minute by minute: its load, and what its polls took."""
    end = minute_of(timezone.now())
    start = end - HISTORY
    rows: dict[datetime, GatewayReading] = {
        row.minute: row for row in gateway.readings.filter(minute__gt=start, minute__lte=end)
    }
    minutes = [start + timedelta(minutes=number) for number in range(1, int(HISTORY.total_seconds() // 60) + 1)]
    known = [rows.get(minute) for minute in minutes]
    latency = [None if row is None or row.latency_ms is None else round(row.latency_ms, 1) for row in known]
    return {
        "times": [int(minute.timestamp()) for minute in minutes],
        "unit": "ms",
        "stacked": False,
        "series": [{"label": "slowest poll", "color": "blue", "values": latency}],
    }


def availability(gateway: Gateway, span: timedelta = timedelta(hours=24)) -> str:
    """The part of the polls that was answered as agreed, in words."""
    rows = gateway.readings.filter(minute__gt=timezone.now() - span).values_list("polls", "failures")
    polls = sum(row[0] for row in rows)
    if not polls:
        return "no polls yet"
    answered = 1 - sum(row[1] for row in rows) / polls
    return "100 %" if answered == 1 else f"{answered * 100:.2f} %"
