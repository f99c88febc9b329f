"""What is kept of executions in the background: that they run, and then how they ended, for their key only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from contract.errors import ErrorCode
from gateway_service.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Collection

RESULTS_PER_KEY = 1_000
"""Results of one key that are kept; the oldest are forgotten first, and never one that still runs."""

BYTES_PER_KEY = 64 * 1024 * 1024
"""The same in bytes."""

RESULT_MAX_BYTES = 8 * 1024 * 1024
"""A larger result is not kept; that it was too large is."""


class ResultsUnavailable(Exception):
    """Results can neither be kept nor read now."""


@dataclass(frozen=True)
class KeptExecution:
    """An execution in the background.

    Attributes:
        started_at, finished_at: seconds since 1970; `finished_at` is None as long as it runs.
        expires_at: when it is forgotten.
        until: when it counts as interrupted if its process does not say that it still runs.
        ending: what became of it, see `Ending`; None as long as it runs.
    """

    execution_id: str
    key_id: str
    registration: str
    started_at: float
    expires_at: float
    until: float
    finished_at: float | None = None
    ending: bytes | None = None

    def interrupted(self, now: float) -> bool:
        """Whether it ran in a process that is gone."""
        return self.ending is None and self.until < now


class Results(Protocol):
    """Keeps executions in the background. Every method raises `ResultsUnavailable` if it cannot."""

    async def begin(self, execution: KeptExecution) -> None:
        """An execution is about to run. Forgets the oldest of its key beyond the bounds, and whatever has expired."""
        ...

    async def finish(self, execution: KeptExecution) -> None:
        """It has ended. Does nothing if it was forgotten meanwhile."""
        ...

    async def find(self, key_id: str, execution_id: str) -> KeptExecution | None:
        """An execution of a key."""
        ...

    async def forget(self, key_id: str, execution_id: str) -> bool:
        """Drop an execution of a key; the process that runs it takes that as a wish to cancel it.

        Returns:
            Whether there was one.
        """
        ...

    async def renew(self, execution_ids: Collection[tuple[str, str]], until: float) -> set[str]:
        """These (key, execution) still run.

        Returns:
            The executions among them that were forgotten.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


def succeeded(body: dict[str, Any]) -> dict[str, Any]:
    """The ending of an execution that answered."""
    return {"result": body}


def failed(error: GatewayError) -> dict[str, Any]:
    """The ending of one that did not."""
    return error.body()


def interrupted(execution_id: str) -> GatewayError:
    """What became of an execution whose process ended."""
    error = GatewayError(ErrorCode.INTERRUPTED, "the gateway stopped before the execution ended; send it again")
    error.execution_id = execution_id
    return error
