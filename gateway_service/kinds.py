"""What each kind of placement means on a gateway. To add one: a class here, and its `Kind` in the contract."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from contract.caller_keys import CallerKey
from contract.errors import ContractError
from contract.kinds import API_KEY, ROUTE, STOP, WORKFLOW, Kind
from contract.nodes import KAIZEN_AGENT
from contract.release import Release
from contract.routes import Route
from contract.stops import Stop
from gateway_service.registrations import Registration
from gateway_service.settings import DEFAULT_PROFILE

if TYPE_CHECKING:
    from collections.abc import Collection

    from contract.document import Document
    from gateway_service.store.placements import Placement


class GatewayKind(Protocol):
    """How one kind of payload is admitted and brought to life."""

    kind: Kind

    def admit(self, payload: dict[str, Any]) -> Document:
        """Check a pushed payload against the contract and against what this gateway can do.

        Raises:
            ContractError: it cannot be placed here.
        """
        ...

    def load(self, placement: Placement) -> Any:
        """The live object of a stored payload, checked again: the file may have been touched.

        Raises:
            ContractError: it breaks the contract.
        """
        ...


class Workflows:
    """Releases, which become callable registrations."""

    kind = WORKFLOW

    def __init__(self, profiles: Collection[str]) -> None:
        self._profiles = profiles

    def admit(self, payload: dict[str, Any]) -> Release:
        """A release whose model profiles this gateway has."""
        release = Release.parse(payload)
        for index, node in enumerate(release.workflow.nodes):
            profile = node.parameters.get("model_profile", DEFAULT_PROFILE)
            if node.type == KAIZEN_AGENT and profile not in self._profiles:
                path = f"workflow.nodes[{index}].parameters.model_profile"
                raise ContractError(f"this gateway has no model profile {profile!r}", path)
        return release

    def load(self, placement: Placement) -> Registration:
        """The registration. A profile that is gone meanwhile fails its calls, not the rest of the gateway."""
        release = Release.parse(placement.payload or b"")
        return Registration(placement.name, placement.registration_id, release)


class CallerKeys:
    """Caller keys."""

    kind = API_KEY

    def admit(self, payload: dict[str, Any]) -> CallerKey:
        """A caller key."""
        return CallerKey.parse(payload)

    def load(self, placement: Placement) -> CallerKey:
        """The caller key."""
        return CallerKey.parse(placement.payload or b"")


class Routes:
    """Traffic splits between a registration and its canary."""

    kind = ROUTE

    def admit(self, payload: dict[str, Any]) -> Route:
        """A route."""
        return Route.parse(payload)

    def load(self, placement: Placement) -> Route:
        """The route."""
        return Route.parse(placement.payload or b"")


class Stops:
    """What must not run."""

    kind = STOP

    def admit(self, payload: dict[str, Any]) -> Stop:
        """A stop."""
        return Stop.parse(payload)

    def load(self, placement: Placement) -> Stop:
        """The stop."""
        return Stop.parse(placement.payload or b"")


def gateway_kinds(profiles: Collection[str]) -> MappingProxyType[str, GatewayKind]:
    """All kinds of this gateway, by name."""
    kinds: tuple[GatewayKind, ...] = (Workflows(profiles), Routes(), CallerKeys(), Stops())
    return MappingProxyType({each.kind.name: each for each in kinds})
