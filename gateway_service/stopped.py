"""All stops of a gateway as one question: may this release run under this name?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Collection

    from contract.stops import Stop
    from gateway_service.registrations import Registration


@dataclass(frozen=True)
class Stopped:
    """The union of all live stops.

    Attributes:
        count: how many stops there are.
    """

    count: int
    registrations: frozenset[str]
    releases: frozenset[str]

    @classmethod
    def by(cls, stops: Collection[Stop]) -> Stopped:
        """What these stops cover together."""
        registrations = frozenset(name for stop in stops for name in stop.registrations)
        releases = frozenset(digest for stop in stops for digest in stop.releases)
        return cls(len(stops), registrations, releases)

    def covers(self, registration: Registration) -> bool:
        """Whether a release must not run under the name it has here."""
        return registration.name in self.registrations or registration.digest in self.releases


class StoppedError(GatewayError):
    """A stop is in force. There is no use in trying again by oneself: only people lift stops."""

    def __init__(self, registration: str) -> None:
        super().__init__(ErrorCode.STOPPED, f"{registration} is stopped, and runs again when its owners lift the stop")
