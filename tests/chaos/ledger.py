"""What people were promised: every command of a run whose success was told, independent of what Studio remembers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.chaos.plan import Act

Place = tuple[str, str]
"""(environment, registration)"""


@dataclass(frozen=True)
class Promise:
    """One command that committed.

    Attributes:
        tag: of the wish.
        act: what was done.
        place: the environment and the registration, or the environment and the key's or the stop's public id.
        version: the agent's version that is to run from then on; None for nothing. Of keys and stops: 1 for one that
            lives, None for one that was ended.
        result: id of the rollout, the key or the stop.
        stops: the registration that a stop is about.
        told: whether the command returned; False if the connection broke and the row was found afterwards.
    """

    tag: str
    act: Act
    place: Place
    version: int | None
    result: str
    told: bool = True
    stops: str = ""


@dataclass
class Deployed:
    """What one deployment should be, by the promises alone.

    Attributes:
        version: what should run.
        ran: every version that was ever wanted there.
    """

    version: int | None = None
    ran: list[int] = field(default_factory=list)

    def turn(self, version: int | None) -> None:
        """Note the next change."""
        self.version = version
        if version is not None and version not in self.ran:
            self.ran.append(version)


@dataclass
class Ledger:
    """The promises made to one organization, in the order in which they were made.

    Attributes:
        stops: living stops, by the registration that they are about.
        stopped: registrations by the place of every stop that ever was.
        refused: how many commands Studio answered with a conflict, which promises nothing.
        vanished: commands whose connection broke and of which nothing was found afterwards; that is allowed.
    """

    promises: list[Promise] = field(default_factory=list)
    deployed: dict[Place, Deployed] = field(default_factory=dict)
    keys: dict[Place, bool] = field(default_factory=dict)
    stops: dict[str, Place] = field(default_factory=dict)
    stopped: dict[Place, str] = field(default_factory=dict)
    refused: int = 0
    vanished: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, promise: Promise) -> None:
        """Note a committed command."""
        with self._lock:
            self.promises.append(promise)
            if promise.act in (Act.ISSUE_KEY, Act.REVOKE_KEY):
                self.keys[promise.place] = promise.version is not None
            elif promise.act is Act.STOP:
                self.stops[promise.stops] = promise.place
                self.stopped[promise.place] = promise.stops
            elif promise.act is Act.LIFT:
                del self.stops[promise.stops]
            else:
                self.deployed.setdefault(promise.place, Deployed()).turn(promise.version)

    def expected(self) -> dict[Place, int | None]:
        """What every gateway of an environment must hold at last: versions by registration, and 1 or None for keys."""
        with self._lock:
            wanted: dict[Place, int | None] = {place: each.version for place, each in self.deployed.items()}
            return wanted | {place: 1 if living else None for place, living in self.keys.items()}
