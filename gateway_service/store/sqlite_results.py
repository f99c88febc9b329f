"""Results of executions in the background, in a file that outlives restarts; all processes of a gateway share it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from gateway_service.execution.results import BYTES_PER_KEY, RESULTS_PER_KEY, KeptExecution, ResultsUnavailable
from gateway_service.store.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

FILE_NAME = "results.sqlite"

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS result (
    execution_id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    registration TEXT NOT NULL,
    started_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    until REAL NOT NULL,
    finished_at REAL,
    ending BLOB,
    CHECK ((finished_at IS NULL) = (ending IS NULL))
) STRICT;
CREATE INDEX IF NOT EXISTS result_key ON result (key_id, started_at);
CREATE INDEX IF NOT EXISTS result_expires_at ON result (expires_at);
"""
_COLUMNS = "execution_id, key_id, registration, started_at, expires_at, until, finished_at, ending"
_INSERT = f"INSERT INTO result ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)"  # noqa: S608 (constant)
_FIND = f"SELECT {_COLUMNS} FROM result WHERE key_id = ? AND execution_id = ?"  # noqa: S608 (constant)
_BEYOND_THE_BOUNDS = """
DELETE FROM result WHERE execution_id IN (
    SELECT execution_id FROM (
        SELECT execution_id, ending, row_number() OVER newest AS place, sum(length(ending)) OVER newest AS bytes
        FROM result WHERE key_id = ?
        WINDOW newest AS (ORDER BY started_at DESC, execution_id)
    ) WHERE ending IS NOT NULL AND (place > ? OR bytes > ?)
)
"""


class SqliteResults:
    """Keeps results in ``results.sqlite``."""

    def __init__(self, data_dir: Path) -> None:
        self._file = SqliteThread(data_dir / FILE_NAME, _SCHEMA)

    async def begin(self, execution: KeptExecution) -> None:
        """See `Results`."""
        await self._do(self._begin, execution)

    async def finish(self, execution: KeptExecution) -> None:
        """See `Results`."""
        await self._do(self._finish, execution)

    async def find(self, key_id: str, execution_id: str) -> KeptExecution | None:
        """See `Results`."""
        return await self._do(self._find, key_id, execution_id)

    async def forget(self, key_id: str, execution_id: str) -> bool:
        """See `Results`."""
        return await self._do(self._forget, key_id, execution_id)

    async def renew(self, execution_ids: Collection[tuple[str, str]], until: float) -> set[str]:
        """See `Results`."""
        return await self._do(self._renew, execution_ids, until)

    async def close(self) -> None:
        """See `Results`."""
        await self._file.close()

    async def _do(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await self._file.do(work, *arguments)
        except sqlite3.Error as error:
            raise ResultsUnavailable(str(error)) from error

    def _begin(self, execution: KeptExecution) -> None:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM result WHERE expires_at < ?", (execution.started_at,))
            connection.execute(_BEYOND_THE_BOUNDS, (execution.key_id, RESULTS_PER_KEY - 1, BYTES_PER_KEY))
            values = (execution.execution_id, execution.key_id, execution.registration)
            connection.execute(_INSERT, (*values, execution.started_at, execution.expires_at, execution.until))

    def _finish(self, execution: KeptExecution) -> None:
        values = (execution.finished_at, execution.ending, execution.expires_at, execution.execution_id)
        self._file.connection.execute(
            "UPDATE result SET finished_at = ?, ending = ?, expires_at = ? WHERE execution_id = ?", values
        )

    def _find(self, key_id: str, execution_id: str) -> KeptExecution | None:
        row = self._file.connection.execute(_FIND, (key_id, execution_id)).fetchone()
        return None if row is None else KeptExecution(*row)

    def _forget(self, key_id: str, execution_id: str) -> bool:
        deletion = "DELETE FROM result WHERE key_id = ? AND execution_id = ?"
        return self._file.connection.execute(deletion, (key_id, execution_id)).rowcount > 0

    def _renew(self, execution_ids: Collection[tuple[str, str]], until: float) -> set[str]:
        gone = set()
        with self._file.transaction() as connection:
            for _, execution_id in execution_ids:
                renewal = "UPDATE result SET until = ? WHERE execution_id = ?"
                if not connection.execute(renewal, (until, execution_id)).rowcount:
                    gone.add(execution_id)
        return gone
