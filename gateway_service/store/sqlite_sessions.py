"""Sessions in a file of the gateway, which all its processes share."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any, TypeVar

from gateway_service.models.messages import Message
from gateway_service.store.session_memory import (
    SESSIONS_PER_KEY,
    MemoryUnavailable,
    Remembered,
    Session,
    within_bounds,
)
from gateway_service.store.sqlite_thread import SqliteThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway_service.store.session_memory import Conversation, Position, SessionName

FILE_NAME = "sessions.sqlite"

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL,
    registration TEXT NOT NULL,
    session_id TEXT NOT NULL,
    node TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
    content TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS message_conversation ON message (key_id, registration, session_id, node, id);
CREATE TABLE IF NOT EXISTS session (
    key_id TEXT NOT NULL,
    registration TEXT NOT NULL,
    session_id TEXT NOT NULL,
    created_at REAL NOT NULL,
    used_at REAL NOT NULL,
    PRIMARY KEY (key_id, registration, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_used ON session (key_id, used_at, registration, session_id);
CREATE INDEX IF NOT EXISTS session_used_at ON session (used_at);
CREATE TRIGGER IF NOT EXISTS session_forgotten AFTER DELETE ON session BEGIN
    DELETE FROM message
    WHERE key_id = old.key_id AND registration = old.registration AND session_id = old.session_id;
END;
INSERT INTO session (key_id, registration, session_id, created_at, used_at)
    SELECT key_id, registration, session_id, min(at), max(at) FROM message
    WHERE NOT EXISTS (SELECT 1 FROM session) GROUP BY key_id, registration, session_id;
"""

_OF_SESSION = "key_id = ? AND registration = ? AND session_id = ?"
_OF_CONVERSATION = f"{_OF_SESSION} AND node = ?"
_SESSION = "registration, session_id, created_at, used_at"
_FORGET_BEYOND_BOUND = """
DELETE FROM session WHERE key_id = ? AND (registration, session_id) IN (
    SELECT registration, session_id FROM session WHERE key_id = ? ORDER BY used_at DESC LIMIT -1 OFFSET ?
)
"""


class SqliteSessions:
    """Keeps sessions in ``sessions.sqlite``."""

    def __init__(self, data_dir: Path, *, kept_s: float, clock: Callable[[], float] = time.time) -> None:
        """Open the file.

        Args:
            data_dir: the folder it lies in.
            kept_s: seconds after its last use for which a session is kept.
            clock: seconds since 1970.
        """
        self._file = SqliteThread(data_dir / FILE_NAME, _SCHEMA)
        self._kept_s = kept_s
        self._clock = clock

    async def recall(self, conversation: Conversation) -> list[Message]:
        """See `SessionMemory`."""
        return await self._do(self._recall, conversation)

    async def remember(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """See `SessionMemory`."""
        await self._do(self._remember, conversation, messages)

    async def sessions(
        self, key_id: str, *, registration: str | None, after: Position | None, limit: int
    ) -> list[Session]:
        """See `SessionMemory`."""
        return await self._do(self._sessions, key_id, registration, after, limit)

    async def read(self, name: SessionName) -> tuple[Session, list[Remembered]] | None:
        """See `SessionMemory`."""
        return await self._do(self._read, name)

    async def forget(self, key_id: str, registration: str, session_id: str | None) -> int:
        """See `SessionMemory`."""
        return await self._do(self._forget, key_id, registration, session_id)

    async def close(self) -> None:
        """See `SessionMemory`."""
        await self._file.close()

    async def _do(self, work: Callable[..., _T], *arguments: Any) -> _T:
        try:
            return await self._file.do(work, *arguments)
        except sqlite3.Error as error:
            _log.error("sessions are out of reach: %s", error)
            raise MemoryUnavailable from error

    @property
    def _oldest_kept(self) -> float:
        return self._clock() - self._kept_s

    def _recall(self, conversation: Conversation) -> list[Message]:
        if self._session(conversation.session) is None:
            return []
        query = f"SELECT role, content FROM message WHERE {_OF_CONVERSATION} ORDER BY id"  # noqa: S608 (constant)
        rows = self._file.connection.execute(query, (*conversation.session, conversation.node))
        return [Message(role, content) for role, content in rows]

    def _remember(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        now, name, node = self._clock(), conversation.session, conversation.node
        with self._file.transaction() as connection:
            # First what is too old: an expired session of this name must not come to life again.
            connection.execute("DELETE FROM session WHERE used_at < ?", (self._oldest_kept,))
            _use(connection, name, now)
            connection.executemany(
                "INSERT INTO message (key_id, registration, session_id, node, role, content, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*name, node, message.role, message.content, now) for message in messages],
            )
            _forget_beyond_bounds(connection, (*name, node))

    def _sessions(self, key_id: str, registration: str | None, after: Position | None, limit: int) -> list[Session]:
        conditions, values = ["key_id = ?", "used_at >= ?"], [key_id, self._oldest_kept]
        if registration is not None:
            conditions.append("registration = ?")
            values.append(registration)
        if after is not None:
            conditions.append("(used_at, registration, session_id) < (?, ?, ?)")
            values.extend(after)
        query = (
            f"SELECT {_SESSION} FROM session WHERE {' AND '.join(conditions)} "  # noqa: S608 (constants)
            "ORDER BY used_at DESC, registration DESC, session_id DESC LIMIT ?"
        )
        return [Session(*row) for row in self._file.connection.execute(query, (*values, limit))]

    def _read(self, name: SessionName) -> tuple[Session, list[Remembered]] | None:
        session = self._session(name)
        if session is None:
            return None
        query = f"SELECT node, role, content, at FROM message WHERE {_OF_SESSION} ORDER BY id"  # noqa: S608 (constant)
        rows = self._file.connection.execute(query, name)
        return session, [Remembered(node, Message(role, content), at) for node, role, content, at in rows]

    def _forget(self, key_id: str, registration: str, session_id: str | None) -> int:
        condition, values = "key_id = ? AND registration = ?", [key_id, registration]
        if session_id is not None:
            condition, values = _OF_SESSION, [key_id, registration, session_id]
        with self._file.transaction() as connection:
            return connection.execute(f"DELETE FROM session WHERE {condition}", values).rowcount  # noqa: S608 (constant)

    def _session(self, name: SessionName) -> Session | None:
        query = f"SELECT {_SESSION} FROM session WHERE {_OF_SESSION} AND used_at >= ?"  # noqa: S608 (constant)
        row = self._file.connection.execute(query, (*name, self._oldest_kept)).fetchone()
        return None if row is None else Session(*row)


def _forget_beyond_bounds(connection: sqlite3.Connection, conversation: tuple[str, str, str, str]) -> None:
    query = f"SELECT id, role, content FROM message WHERE {_OF_CONVERSATION} ORDER BY id DESC"  # noqa: S608 (constant)
    rows = connection.execute(query, conversation).fetchall()
    kept = within_bounds(Message(role, content) for _, role, content in rows)
    connection.executemany("DELETE FROM message WHERE id = ?", [(row[0],) for row in rows[kept:]])


def _use(connection: sqlite3.Connection, name: SessionName, now: float) -> None:
    """Note that a session is used; a new one may take the place of the one that was used longest ago."""
    use = f"UPDATE session SET used_at = ? WHERE {_OF_SESSION}"  # noqa: S608 (constant)
    if connection.execute(use, (now, *name)).rowcount:
        return
    connection.execute(f"INSERT INTO session (key_id, {_SESSION}) VALUES (?, ?, ?, ?, ?)", (*name, now, now))  # noqa: S608
    connection.execute(_FORGET_BEYOND_BOUND, (name.key_id, name.key_id, SESSIONS_PER_KEY))
