"""What agents with memory remember: the last messages of a session, on this gateway's disk.

A conversation belongs to one caller key, one registration, one session and one node of the graph, so that neither two
callers nor two agents ever see each other's.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_service.models.messages import Message
from gateway_service.store.database import connect, initialize

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "sessions.sqlite"

MESSAGES_KEPT = 40
"""Messages of a conversation that are kept and shown to the model: twenty exchanges."""

CHARACTERS_SHOWN = 32_000
"""The most characters of earlier messages that go to the model; older ones are left out first."""

IDLE_DAYS = 30
"""A conversation nobody continued for this long is forgotten."""

_PRUNE_EVERY_S = 3_600.0

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
CREATE INDEX IF NOT EXISTS message_at ON message (at);
"""

_OF_CONVERSATION = "key_id = ? AND registration = ? AND session_id = ? AND node = ?"


@dataclass(frozen=True)
class Conversation:
    """Whose memory it is."""

    key_id: str
    registration: str
    session_id: str
    node: str

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """As the table has it."""
        return self.key_id, self.registration, self.session_id, self.node


class SessionMemory:
    """The conversations of one gateway. Every method blocks on the disk; call it from a thread."""

    def __init__(self, data_dir: Path) -> None:
        path = data_dir / FILE_NAME
        initialize(path, _SCHEMA)
        self._connection = connect(path, durable=False)
        self._lock = threading.Lock()
        self._pruned_at = 0.0

    def recall(self, conversation: Conversation) -> list[Message]:
        """The last messages, oldest first, within the bounds above."""
        query = f"SELECT role, content FROM message WHERE {_OF_CONVERSATION} ORDER BY id DESC LIMIT ?"  # noqa: S608
        with self._lock:
            rows = self._connection.execute(query, (*conversation.columns, MESSAGES_KEPT)).fetchall()
        recalled: list[Message] = []
        room = CHARACTERS_SHOWN
        for role, content in rows:
            room -= len(content)
            if room < 0:
                break
            recalled.append(Message(role, content))
        return recalled[::-1]

    def remember(self, conversation: Conversation, messages: list[Message]) -> None:
        """Append messages, and forget those beyond the bound."""
        now = time.time()
        rows = [(*conversation.columns, message.role, message.content, now) for message in messages]
        outdated = (
            f"DELETE FROM message WHERE {_OF_CONVERSATION} AND id NOT IN "  # noqa: S608 (constant)
            f"(SELECT id FROM message WHERE {_OF_CONVERSATION} ORDER BY id DESC LIMIT ?)"
        )
        columns = conversation.columns
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    "INSERT INTO message (key_id, registration, session_id, node, role, content, at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
                self._connection.execute(outdated, (*columns, *columns, MESSAGES_KEPT))
                self._prune(now)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prune(self, now: float) -> None:
        if now - self._pruned_at < _PRUNE_EVERY_S:
            return
        self._pruned_at = now
        self._connection.execute("DELETE FROM message WHERE at < ?", (now - IDLE_DAYS * 86_400,))
