"""The ledger of one gateway: a file that all its processes share, so that they count as one.

It outlives restarts: a budget of a month must. A loss of power may take the last moments along.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from gateway_service.limits.ledger import Finding, LedgerUnavailable
from gateway_service.store.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway_service.limits.ledger import Correction, Wish
    from gateway_service.limits.quotas import Quota

FILE_NAME = "limits.sqlite"

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spent (
    key_id TEXT NOT NULL,
    meter TEXT NOT NULL,
    slot INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (key_id, meter, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS running (
    execution_id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS running_key ON running (key_id, until);
CREATE INDEX IF NOT EXISTS running_until ON running (until);
DELETE FROM spent WHERE slot < CAST(strftime('%s', 'now') AS INTEGER) - 62 * 86400;
"""
_COUNT = (
    "INSERT INTO spent (key_id, meter, slot, amount) VALUES (?, ?, ?, max(0, ?)) "
    "ON CONFLICT DO UPDATE SET amount = max(0, amount + ?)"
)


class SqliteLedger:
    """Counts in ``limits.sqlite``."""

    def __init__(self, data_dir: Path) -> None:
        self._file = SqliteThread(data_dir / FILE_NAME, _SCHEMA)

    async def reserve(self, wish: Wish) -> Finding:
        """See `Ledger`."""
        return await self._do(self._reserve, wish)

    async def settle(self, key_id: str, execution_id: str, corrections: Sequence[Correction]) -> None:
        """See `Ledger`."""
        await self._do(self._settle, key_id, execution_id, corrections)

    async def renew(self, key_ids: Mapping[str, str], until: float) -> None:
        """See `Ledger`."""
        await self._do(self._renew, key_ids, until)

    async def close(self) -> None:
        """See `Ledger`."""
        await self._file.close()

    async def _do(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await self._file.do(work, *arguments)
        except sqlite3.Error as error:
            raise LedgerUnavailable(str(error)) from error

    def _reserve(self, wish: Wish) -> Finding:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM running WHERE until < ?", (wish.now,))
            counting = "SELECT count(*) FROM running WHERE key_id = ?"
            (running,) = connection.execute(counting, (wish.key_id,)).fetchone()
            spent = tuple(_spent(connection, wish.key_id, quota) for quota in wish.quotas)
            if not wish.fits(running, spent):
                return Finding(granted=False, running=running, spent=spent)
            for quota, counted in zip(wish.quotas, spent, strict=True):
                share = quota.share(counted)
                connection.execute(_COUNT, (wish.key_id, quota.meter, quota.slot, share, share))
            connection.execute(
                "INSERT INTO running (execution_id, key_id, until) VALUES (?, ?, ?)",
                (wish.execution_id, wish.key_id, wish.until),
            )
        return Finding(granted=True, running=running, spent=spent)

    def _settle(self, key_id: str, execution_id: str, corrections: Sequence[Correction]) -> None:
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM running WHERE execution_id = ?", (execution_id,))
            for each in corrections:
                connection.execute(_COUNT, (key_id, each.meter, each.slot, each.amount, each.amount))

    def _renew(self, key_ids: Mapping[str, str], until: float) -> None:
        # An upsert: who was suspended for longer than its lease is counted again as soon as it goes on.
        renewal = (
            "INSERT INTO running (execution_id, key_id, until) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET until = excluded.until"
        )
        with self._file.transaction() as connection:
            rows = [(execution_id, key_id, until) for execution_id, key_id in key_ids.items()]
            connection.executemany(renewal, rows)


def _spent(connection: sqlite3.Connection, key_id: str, quota: Quota) -> dict[int, int]:
    connection.execute(
        "DELETE FROM spent WHERE key_id = ? AND meter = ? AND slot < ?", (key_id, quota.meter, quota.first)
    )
    rows = connection.execute("SELECT slot, amount FROM spent WHERE key_id = ? AND meter = ?", (key_id, quota.meter))
    return dict(rows.fetchall())
