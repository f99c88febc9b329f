"""The kind `stop`: how stops lie on gateways, which of them win over a restored Studio, and where they have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from apps.agents.models import Agent
from apps.core.commands import record_system_event
from apps.core.live import hint
from apps.deployments.models import Release, Stop
from apps.deployments.stops.coverage import body_for
from apps.gateways.kinds import Kind
from apps.gateways.models import Environment, Payload
from apps.gateways.placements import Wanted, want, want_on_environment
from contract import kinds as contract_kinds
from contract.errors import ContractError
from contract.names import split_registration_name
from contract.stops import Stop as StopDocument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.gateways.models import Gateway, Placement

log = structlog.get_logger(__name__)
_FOUND = "Studio did not know of this stop, perhaps because it was restored from an older backup; a gateway had it"


class StopKind(Kind):
    """A stop. It goes before everything, stays until the end of a gateway, and one that Studio lost comes back.

    A lifted one does not win over Studio's live one: of two errors, the one that keeps something stopped is repaired
    by a person who lifts it, and the other one is not.
    """

    contract = contract_kinds.STOP
    overtakes = True
    outlasts_leaving = True
    found_wins = True

    def adopt(self, placement: Placement) -> None:
        """Follow a stop that lies on a gateway and that no row wanted there."""
        stop = Stop.objects.filter(public_id=placement.name).select_related("environment").first()
        gateway = placement.gateway
        if stop is None:
            self._make_again(placement)
        elif not stop.live:
            # A person lifted it, and this gateway, which was away from us, has not heard.
            want(gateway=gateway, kind=self.name, name=stop.public_id, body=None)
        else:
            want(gateway=gateway, kind=self.name, name=stop.public_id, body=body_for(stop, gateway.environment))

    def _make_again(self, placement: Placement) -> None:
        body = bytes(Payload.objects.get(digest=placement.observed_digest).body)
        try:
            document = StopDocument.parse(body)
            slugs = sorted({split_registration_name(name).slug for name in document.registrations})
        except ContractError as error:
            # It stays on its gateway, where it is in force, and in the log of this process.
            log.warning("stop_not_understood", stop=placement.name, gateway=str(placement.gateway), problem=str(error))
            return
        stop = Stop.objects.create(
            public_id=placement.name,
            subject=Stop.Subject.FOUND,
            label=_called(slugs, document.releases),
            slugs=slugs,
            digests=sorted(document.releases),
            environment=placement.gateway.environment,
            gateways=list(placement.gateway.environment.gateways.order_by("name").values_list("name", flat=True)),
            reason=_FOUND,
            started_by="unknown",
        )
        want_on_environment(placement.gateway.environment, self.name, stop.public_id, body)
        record_system_event("stop.adopt", stop, gateway=placement.gateway.name, slugs=slugs, releases=stop.digests)
        hint("stop")


STOP = StopKind()


def live_stops(gateway: Gateway) -> Iterable[Wanted]:
    """What a joining gateway must not run."""
    for stop in Stop.objects.live().in_environment(gateway.environment):
        yield Wanted(STOP.name, stop.public_id, body_for(stop, gateway.environment))


def want_everywhere(stop: Stop, environments: Iterable[Environment]) -> list[Placement]:
    """Want the stop, or that it be gone once it is lifted, on every gateway of environments that are locked."""
    return [
        placement
        for environment in environments
        for placement in want_on_environment(
            environment, STOP.name, stop.public_id, body_for(stop, environment) if stop.live else None
        )
    ]


def _called(slugs: list[str], digests: list[str]) -> str:
    """What people call what a found stop covers, as far as Studio knows it."""
    names = list(Agent.objects.filter(slug__in=slugs).values_list("name", flat=True))
    known = Release.objects.filter(digest__in=digests).select_related("agent_version__agent")
    named = [*names, *(str(release) for release in known)] or [*slugs, *(digest[:19] for digest in digests)]
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
