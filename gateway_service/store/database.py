"""Opening SQLite files so that several processes can share them."""

from __future__ import annotations

import sqlite3
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway_service.files import exclusive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_BUSY_TIMEOUT_S = 10.0
_NOTHING: Mapping[tuple[str, str], str] = MappingProxyType({})


def connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun explicitly.

    Args:
        path: an initialized file, see `initialize`.
        durable: whether a commit waits for the disk. Without it a loss of power, but no crash of the process, may take
            the last commits along.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return connection


def initialize(path: Path, schema: str, added: Mapping[tuple[str, str], str] = _NOTHING) -> None:
    """Create the file with its tables, if it is not there yet.

    Args:
        path: where.
        schema: statements that create what is missing.
        added: columns that files of an earlier version lack, by (table, column), with their type.

    Raises:
        sqlite3.DatabaseError: the file is no database, or is damaged.
    """
    # Two processes that both set journal_mode=WAL on a new file can crash one another, so one at a time.
    with exclusive(path.parent / ".lock"):
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
            for (table, column), kind in added.items():
                _add_column(connection, table, column, kind)
        finally:
            connection.close()


def _add_column(connection: sqlite3.Connection, table: str, column: str, kind: str) -> None:
    present = connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone()
    if not present:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
