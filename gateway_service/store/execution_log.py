"""The execution log: one record per finished execution, read by Studio as a cursor.

Records are handed over in memory and written by a thread of its own a moment later, so that no request waits for a
disk. A clean stop writes what is left; a kill loses at most the last moment. The epoch tells a reader that the file
was lost and the count began anew.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from contract.admin_api import Channel, ExecutionPage, ExecutionRecord, ExecutionStatus, NodeRecord
from gateway_service.store.database import connect, initialize

if TYPE_CHECKING:
    from pathlib import Path

    from gateway_service.execution.trace import NodeTrace

FILE_NAME = "executions.sqlite"

_WRITE_EVERY_S = 0.1
_PRUNE_EVERY = 1_000
_PENDING_LIMIT = 100_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS execution (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL,
    registration TEXT NOT NULL,
    release_digest TEXT NOT NULL,
    key_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    started_at TEXT NOT NULL,
    duration_ms REAL NOT NULL,
    status TEXT NOT NULL,
    error_code TEXT,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    session_id TEXT,
    nodes TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS log (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL) STRICT;
"""

_COLUMNS = (
    "execution_id, registration, release_digest, key_id, channel, started_at, duration_ms, status, error_code, "
    "input_tokens, output_tokens, session_id, nodes"
)
_INSERT = (
    f"INSERT INTO execution ({_COLUMNS}) SELECT "  # noqa: S608 (constant)
    + ", ".join(f"value ->> {position}" for position in range(13))
    + " FROM json_each(?) ORDER BY key"
)
"""One statement for a whole batch. With `executemany`, sqlite3 would hand the interpreter's lock over at every row, and
each time take it back from the thread that serves."""

_SELECT = f"SELECT seq, {_COLUMNS} FROM execution WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 (constant)

_log = logging.getLogger(__name__)


class FinishedExecution(NamedTuple):
    """What is recorded of an execution; in the order of the columns. Holds no prompt and no answer."""

    execution_id: str
    registration: str
    release_digest: str
    key_id: str
    channel: str
    started_at: str
    duration_ms: float
    status: str
    error_code: str | None
    input_tokens: int
    output_tokens: int
    session_id: str | None
    nodes: tuple[NodeTrace, ...] = ()


class ExecutionLog:
    """The log of one gateway. `record` may be called from the event loop; everything else blocks on the disk."""

    def __init__(self, data_dir: Path, *, keep: int) -> None:
        path = data_dir / FILE_NAME
        initialize(path, _SCHEMA, added={("execution", "nodes"): "TEXT"})
        self._keep = keep
        self._connection = connect(path, durable=False)
        self._connection.execute("INSERT OR IGNORE INTO log (one, epoch) VALUES (1, ?)", (secrets.token_hex(8),))
        (self.epoch,) = self._connection.execute("SELECT epoch FROM log").fetchone()
        self._written_seq = self._last_seq()
        self._pending: deque[FinishedExecution] = deque()
        self._since_prune = _PRUNE_EVERY
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._work_to_do = threading.Event()
        self._thread = threading.Thread(target=self._write_until_closed, name="execution-log", daemon=True)
        self._thread.start()

    def record(self, execution: FinishedExecution) -> None:
        """Hand over a record; it is written within a moment."""
        if len(self._pending) >= _PENDING_LIMIT:
            # The disk has refused for long. Serving goes on; the newest facts are worth more than the oldest.
            self._pending.popleft()
        self._pending.append(execution)
        self._work_to_do.set()

    @property
    def newest_seq(self) -> int:
        """Position of the newest record, those that wait for the disk included. Asks no disk.

        While records are being written it may be too high for an instant: a reader asks once more than it had to.
        """
        return len(self._pending) + self._written_seq

    def page(self, after: int, limit: int) -> ExecutionPage:
        """The records after a position, oldest first, including all that was recorded before this call."""
        with self._lock:
            self._write()
            rows = self._connection.execute(_SELECT, (after, limit)).fetchall()
            (first,) = self._connection.execute("SELECT coalesce(min(seq), 1) FROM execution").fetchone()
        items = [_record(row) for row in rows]
        next_after = items[-1].seq if items else after
        return ExecutionPage(epoch=self.epoch, next_after=next_after, first_seq=first, items=items)

    def close(self) -> None:
        """Write what is pending, and close."""
        self._closing.set()
        self._work_to_do.set()
        self._thread.join()
        self._connection.close()

    def _write_until_closed(self) -> None:
        closing = False
        while not closing:
            # A gateway that nobody calls should cost nothing; one that is called much should write seldom.
            self._work_to_do.wait()
            closing = self._closing.wait(_WRITE_EVERY_S)
            self._work_to_do.clear()
            try:
                with self._lock:
                    self._write()
            except sqlite3.Error as error:
                # A full or failing disk must not end the thread: the records wait, and the next round tries again.
                self._work_to_do.set()
                _log.error("execution log: %d records wait, because the disk refused: %s", len(self._pending), error)

    def _write(self) -> None:
        batch = [self._pending[index] for index in range(len(self._pending))]
        if not batch:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute(_INSERT, (json.dumps(batch),))
            self._prune(len(batch))
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._written_seq = self._last_seq()
        for _ in batch:
            self._pending.popleft()

    def _last_seq(self) -> int:
        """The highest position that was ever given, also if its record is pruned since."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'execution'").fetchone()
        return int(row[0]) if row else 0

    def _prune(self, added: int) -> None:
        self._since_prune += added
        if self._since_prune < _PRUNE_EVERY:
            return
        self._since_prune = 0
        self._connection.execute(
            "DELETE FROM execution WHERE seq <= (SELECT max(seq) FROM execution) - ?", (self._keep,)
        )


def _record(row: tuple[Any, ...]) -> ExecutionRecord:
    seq, execution_id, registration, digest, key_id, channel, started_at, duration, status, code, *rest = row
    input_tokens, output_tokens, session_id, nodes = rest
    return ExecutionRecord.model_construct(
        seq=seq, execution_id=execution_id, registration=registration, release_digest=digest, key_id=key_id,
        channel=Channel(channel), started_at=datetime.fromisoformat(started_at), duration_ms=duration,
        status=ExecutionStatus(status), error_code=code, input_tokens=input_tokens, output_tokens=output_tokens,
        session_id=session_id, nodes=[_node_record(*trace) for trace in json.loads(nodes or "[]")],
    )  # fmt: skip


def _node_record(
    node: str, status: str, duration: float, input_tokens: int, output_tokens: int, code: str | None,
    costs: dict[str, int],
) -> NodeRecord:  # fmt: skip
    return NodeRecord.model_construct(
        node=node, status=ExecutionStatus(status), duration_ms=duration, input_tokens=input_tokens,
        output_tokens=output_tokens, error_code=code, costs=costs,
    )  # fmt: skip
