"""What agents with memory remember: the last messages of a session.

A session belongs to one caller key and one registration; in it, each node of the graph has a conversation of its own.
So neither two callers nor two agents ever see each other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway_service.models.messages import Message

MESSAGES_KEPT = 40
"""Messages of a conversation that are kept and shown to the model: twenty exchanges."""

CHARACTERS_KEPT = 32_000
"""The same in characters; older ones are left out first."""

SESSIONS_PER_KEY = 10_000
"""Sessions of one key that are kept; those nobody continued for longest are forgotten first."""

_RETRY_S = 2


class MemoryUnavailable(GatewayError):
    """Sessions can neither be read nor kept now."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NOT_READY, "sessions cannot be read or kept now; try again soon", retry_after_s=_RETRY_S
        )


class SessionName(NamedTuple):
    """Whose session it is, of which registration, and what the caller calls it."""

    key_id: str
    registration: str
    session_id: str


@dataclass(frozen=True)
class Conversation:
    """The part of a session that belongs to one node."""

    session: SessionName
    node: str


@dataclass(frozen=True)
class Session:
    """A session as its caller sees it.

    Attributes:
        created_at, used_at: seconds since 1970.
    """

    registration: str
    session_id: str
    created_at: float
    used_at: float

    @property
    def position(self) -> Position:
        """Where it stands in a list."""
        return Position(self.used_at, self.registration, self.session_id)


class Position(NamedTuple):
    """Where a session stands in a list, which begins with what was used last."""

    used_at: float
    registration: str
    session_id: str


@dataclass(frozen=True)
class Remembered:
    """A message of a session, and the node whose conversation it belongs to."""

    node: str
    message: Message
    at: float


class SessionMemory(Protocol):
    """Keeps sessions. Every method raises `MemoryUnavailable` if it cannot."""

    async def recall(self, conversation: Conversation) -> list[Message]:
        """The last messages, oldest first, within the bounds above."""
        ...

    async def remember(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """Append messages, and forget what is beyond the bounds, or was not used for too long."""
        ...

    async def sessions(
        self, key_id: str, *, registration: str | None, after: Position | None, limit: int
    ) -> list[Session]:
        """Sessions of a key, those used last first.

        Args:
            registration: only those of this one.
            after: the last one that was seen before.
            limit: the most that are returned.
        """
        ...

    async def read(self, name: SessionName) -> tuple[Session, list[Remembered]] | None:
        """A session with all that is remembered of it, oldest first."""
        ...

    async def forget(self, key_id: str, registration: str, session_id: str | None) -> int:
        """Forget one session of a key and a registration, or (None) all of them.

        Returns:
            How many there were.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


def within_bounds(newest_first: Iterable[Message]) -> int:
    """How many of the newest messages of a conversation are kept."""
    kept, room = 0, CHARACTERS_KEPT
    for message in newest_first:
        room -= len(message.content)
        if room < 0 or kept == MESSAGES_KEPT:
            break
        kept += 1
    return kept
