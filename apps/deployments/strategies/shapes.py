"""What one gateway should hold of a registration during a rollout, and what may be wanted of it next.

Three things make up a registration on a gateway: its release, the release of its canary, and the route that sends a
part of the callers to the canary. A gateway confirms each of them for itself, so what depends on another waits for
that one's confirmation. Everything is derived again after each change; nothing is remembered in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from contract.kinds import TOMBSTONE_DIGEST


@dataclass(frozen=True, slots=True)
class Shape:
    """What should be true of a registration on one gateway.

    Attributes:
        release: digest of its release; that of a tombstone for none.
        canary: digest of its canary's release.
        percent: of the callers that go to the canary; 0 without one.
        promotes: the canary's release is becoming the registration's own: callers stay with the canary until it is.
    """

    release: str
    canary: str = TOMBSTONE_DIGEST
    percent: int = 0
    promotes: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What is wanted of a gateway in one place, and whether it was seen to be so.

    Attributes:
        digest: that of a tombstone for something that is, or should be, gone.
        confirmed: whether the gateway holds it. What never was there is gone.
    """

    digest: str = TOMBSTONE_DIGEST
    confirmed: bool = True

    @property
    def gone(self) -> bool:
        """Whether it is certain that nothing is there."""
        return self.confirmed and self.digest == TOMBSTONE_DIGEST

    def has(self, digest: str) -> bool:
        """Whether it is certain that exactly this is there."""
        return self.confirmed and self.digest == digest


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one gateway stands with a registration.

    Attributes:
        route: digest of the route.
    """

    release: Held = field(default_factory=Held)
    canary: Held = field(default_factory=Held)
    route: Held = field(default_factory=Held)


@dataclass(frozen=True, slots=True)
class Moves:
    """What to want of a gateway now; None where the present wish stays.

    Attributes:
        done: nothing is left to want, and everything is confirmed.
    """

    release: str | None = None
    canary: str | None = None
    route: str | None = None
    done: bool = False


def moves(shape: Shape, here: Standing, route_digest: str, *, at_once: bool = False) -> Moves:
    """What comes next on the way of one gateway to a shape.

    Args:
        route_digest: digest of the route that the shape asks for; that of a tombstone if it asks for none.
        at_once: want everything now, without waiting for what comes first. Nobody is misled by that: a gateway
            ignores a route to a canary that it does not have.
    """
    canary, route = shape.canary, route_digest
    if not at_once:
        if route != TOMBSTONE_DIGEST:
            # First the canary, then the callers.
            route = route if here.canary.has(shape.canary) else here.route.digest
        elif shape.promotes and not here.release.has(shape.release):
            route, canary = here.route.digest, here.canary.digest
        elif not here.route.gone:
            # First the callers leave, then the canary.
            canary = here.canary.digest if canary == TOMBSTONE_DIGEST else canary
    changes = [_change(here.release, shape.release), _change(here.canary, canary), _change(here.route, route)]
    settled = here.release.has(shape.release) and here.canary.has(shape.canary) and here.route.has(route_digest)
    release_change, canary_change, route_change = changes
    return Moves(release_change, canary_change, route_change, done=settled and not any(changes))


def _change(held: Held, digest: str) -> str | None:
    return digest if digest != held.digest else None
