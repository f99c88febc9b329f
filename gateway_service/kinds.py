"""What each kind of placement means on a gateway. To add one: a class here, and its `Kind` in the contract."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast
from weakref import WeakValueDictionary

from contract.caller_keys import TOKENS, CallerKey
from contract.errors import ContractError
from contract.kinds import API_KEY, ROUTE, STOP, WORKFLOW, Kind
from contract.nodes import KAIZEN_AGENT
from contract.routes import Route
from contract.stops import Stop
from gateway_service.registrations import Registration, Registrations
from gateway_service.settings import DEFAULT_PROFILE
from gateway_service.stopped import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from contract.document import Document
    from contract.release import Release
    from gateway_service.execution.running import RunningExecutions
    from gateway_service.settings import ModelProfile
    from gateway_service.store.placements import Placement

Thing = TypeVar("Thing")
View = TypeVar("View")


class GatewayKind(Generic[Thing, View]):
    """How one kind of payload is admitted, brought to life, looked at, and put in force.

    `Thing` is the live object of one placement, `View` what a request sees of all of them. By default a thing is its
    payload, and a view is the things by name.

    Attributes:
        kind: as both planes know it.
        vital: whether the gateway must not run anything as long as one of this kind cannot be read from the disk.
    """

    kind: ClassVar[Kind]
    vital: ClassVar[bool] = False

    def __init__(self) -> None:
        # A push is checked in a thread and loaded on the event loop a moment later; a promoted canary is its release
        # under another name. Neither is parsed twice, and nothing is kept longer than somebody uses it.
        self._parsed: WeakValueDictionary[str, Document] = WeakValueDictionary()

    def admit(self, payload: dict[str, Any]) -> Document:
        """Check a pushed payload against the contract and against what this gateway can do.

        Raises:
            ContractError: it cannot be placed here.
        """
        document = self.kind.payload.parse(payload)
        self._parsed[document.digest] = document
        return document

    def load(self, placement: Placement) -> Thing:
        """The live object of a stored payload, whose digest was just compared with its bytes.

        Raises:
            ContractError: it breaks the contract.
        """
        document = self._parsed.get(placement.digest)
        if document is None:
            document = self.kind.payload.parse(placement.payload or b"")
            self._parsed[placement.digest] = document
        return self.bring_to_life(placement, document)

    def bring_to_life(self, placement: Placement, document: Any) -> Thing:  # noqa: ARG002 (for those that need it)
        """The live object of a checked payload."""
        return cast("Thing", document)

    def view(self, things: Mapping[str, Thing]) -> View:
        """What requests look at; made once for each change of this kind."""
        return cast("View", things)

    def replaced(self, before: Thing | None, after: Thing | None) -> None:
        """A name has another thing from now on, or none. Called on the event loop, after the snapshot was swapped."""

    async def in_force(self, thing: Thing) -> None:
        """Return as soon as a placed thing has its whole effect in this process; the acknowledgement waits for it."""


class Workflows(GatewayKind[Registration, Registrations]):
    """Releases, which become callable registrations."""

    kind = WORKFLOW

    def __init__(
        self,
        profiles: Collection[str],
        *,
        check_tools: Callable[[Release], None],
        warm: Callable[[], None],
        retire: Callable[[Registration], None],
    ) -> None:
        super().__init__()
        self._profiles = profiles
        self._check_tools = check_tools
        self._warm = warm
        self._retire = retire

    def admit(self, payload: dict[str, Any]) -> Document:
        """A release whose model profiles this gateway has, and whose tools its operator allows."""
        release = cast("Release", super().admit(payload))
        for index, node in enumerate(release.workflow.nodes):
            profile = node.parameters.get("model_profile", DEFAULT_PROFILE)
            if node.type == KAIZEN_AGENT and profile not in self._profiles:
                path = f"workflow.nodes[{index}].parameters.model_profile"
                raise ContractError(f"this gateway has no model profile {profile!r}", path)
        self._check_tools(release)
        return release

    def bring_to_life(self, placement: Placement, document: Release) -> Registration:
        """The registration. A profile that is gone meanwhile fails its calls, not the rest of the gateway."""
        return Registration.placed(placement.name, placement.registration_id, document)

    def view(self, things: Mapping[str, Registration]) -> Registrations:
        """Releases and canaries, apart."""
        return Registrations.of(things.values())

    def replaced(self, before: Registration | None, after: Registration | None) -> None:
        """Get ready to execute, and let go of what nobody can call any more."""
        if after is not None:
            self._warm()
        if before is not None:
            self._retire(before)


class CallerKeys(GatewayKind[CallerKey, "Mapping[str, CallerKey]"]):
    """Caller keys, by id."""

    kind = API_KEY

    def __init__(self, currencies: Collection[str]) -> None:
        super().__init__()
        self._currencies = currencies

    def admit(self, payload: dict[str, Any]) -> Document:
        """A key whose budget this gateway can reckon."""
        key = cast("CallerKey", super().admit(payload))
        budget = key.limits.budget
        if budget is not None and budget.unit not in (TOKENS, *self._currencies):
            raise ContractError(f"this gateway has no prices in {budget.unit}", "limits.budget.unit")
        return key


class Routes(GatewayKind[Route, "Mapping[str, Route]"]):
    """Traffic splits between a registration and its canary, by registration."""

    kind = ROUTE


class Stops(GatewayKind[Stop, Stopped]):
    """What must not run. A stop that cannot be read might be about anything, so nothing runs until it can be."""

    kind = STOP
    vital = True

    def __init__(self, running: RunningExecutions) -> None:
        super().__init__()
        self._running = running

    def view(self, things: Mapping[str, Stop]) -> Stopped:
        """All stops as one."""
        return Stopped.by(things.values())

    def replaced(self, before: Stop | None, after: Stop | None) -> None:  # noqa: ARG002 (a lifted stop undoes nothing)
        """Cancel what runs. What begins later is refused by the snapshot that is in place already."""
        if after is not None:
            self._running.stop(after)

    async def in_force(self, thing: Stop) -> None:
        """Wait until what was cancelled has ended."""
        await self._running.ended(thing)


def gateway_kinds(
    profiles: Mapping[str, ModelProfile],
    *,
    check_tools: Callable[[Release], None],
    warm: Callable[[], None],
    retire: Callable[[Registration], None],
    running: RunningExecutions,
) -> MappingProxyType[str, GatewayKind[Any, Any]]:
    """All kinds of this gateway, by name.

    Args:
        profiles: its model profiles, by name.
        check_tools: refuses a release whose tools its operator does not allow.
        warm: begins to load what executions need.
        retire: lets go of a registration that was replaced.
        running: the executions that a stop cancels.
    """
    kinds: tuple[GatewayKind[Any, Any], ...] = (
        Workflows(profiles, check_tools=check_tools, warm=warm, retire=retire),
        Routes(),
        CallerKeys({profile.price.currency for profile in profiles.values() if profile.price}),
        Stops(running),
    )
    return MappingProxyType({each.kind.name: each for each in kinds})
