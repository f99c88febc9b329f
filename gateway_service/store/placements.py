"""The durable store of placements: for each (kind, name) its generation, digest and payload.

An accepted change is on the disk before it is acknowledged. Processes that share the file hear of each other's changes
by a bell, which costs next to nothing, so every request can afford to listen.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from contract.canonical import digest_of
from contract.generations import Stamp, Verdict, judge
from contract.kinds import TOMBSTONE_DIGEST
from gateway_service.store.bell import Bell
from gateway_service.store.database import connect, initialize

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE_NAME = "store.sqlite"
BELL_NAME = "store.bell"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS placement (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    digest TEXT NOT NULL,
    payload BLOB,
    signature TEXT NOT NULL,
    registration_id TEXT NOT NULL UNIQUE,
    applied_at TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
CREATE INDEX IF NOT EXISTS placement_revision ON placement (revision);
CREATE TABLE IF NOT EXISTS store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO store (one, revision) VALUES (1, 0);
"""

_COLUMNS = "kind, name, generation, digest, payload, signature, registration_id, applied_at, revision"


@dataclass(frozen=True)
class Placement:
    """One thing on this gateway, as it lies on the disk.

    Attributes:
        payload: canonical JSON; None for a tombstone.
        signature: Studio's, over the envelope.
        revision: the store's revision that brought it.
    """

    kind: str
    name: str
    generation: int
    digest: str
    payload: bytes | None
    signature: str
    registration_id: str
    applied_at: str
    revision: int

    @property
    def tombstone(self) -> bool:
        """Whether this records a deletion."""
        return self.payload is None

    @property
    def intact(self) -> bool:
        """Whether the payload is still the one that was signed."""
        return self.digest == (TOMBSTONE_DIGEST if self.payload is None else digest_of(self.payload))


@dataclass(frozen=True)
class Incoming:
    """A verified change, ready to be judged and stored."""

    kind: str
    name: str
    generation: int
    digest: str
    payload: bytes | None
    signature: str


class PlacementStore:
    """All placements of one gateway, in one file."""

    def __init__(self, data_dir: Path, vouched_for: Callable[[Placement], bool]) -> None:
        """Open the file.

        Args:
            data_dir: the folder it lies in.
            vouched_for: whether the organization signed what lies in the file as this placement.
        """
        path = data_dir / FILE_NAME
        self._vouched_for = vouched_for
        initialize(path, _SCHEMA)
        # Two connections: data_version tells a connection about the commits of others only, so the one that looks
        # must not be the one that writes.
        self._reader = connect(path, durable=False)
        self._writer = connect(path, durable=True)
        self._writing = threading.Lock()
        self._bell = Bell(data_dir / BELL_NAME)
        self._hush()

    def apply(self, incoming: Incoming) -> tuple[Verdict, Placement]:
        """Judge a change against what is there, and store it if it is newer. Blocks on the disk.

        Returns:
            The verdict, and the placement that stands now.

        Raises:
            sqlite3.Error: the disk refused; nothing was changed.
        """
        with self._writing:
            with self._transaction() as connection:
                current = _select(connection, incoming.kind, incoming.name)
                verdict = self._judge(current, incoming)
                if verdict is not Verdict.APPLY and current is not None:
                    return verdict, current
                placement = _upsert(connection, incoming)
            self._bell.ring(placement.revision)
        return verdict, placement

    def rung(self) -> int:
        """A number that changes before any process acknowledges a change. Cheap enough for every request."""
        return self._bell.last()

    def version(self) -> int:
        """A number that changes whenever any process commits to the file, whether or not it lived on to ring."""
        row: tuple[int] = self._reader.execute("PRAGMA data_version").fetchone()
        return row[0]

    def revision(self) -> int:
        """How many changes the store has seen."""
        row: tuple[int] = self._reader.execute("SELECT revision FROM store").fetchone()
        return row[0]

    def changed_since(self, revision: int) -> list[Placement]:
        """The placements that came after a revision; all of them after 0. Tombstones are included."""
        query = f"SELECT {_COLUMNS} FROM placement WHERE revision > ? ORDER BY revision"  # noqa: S608 (constant)
        return [Placement(*row) for row in self._reader.execute(query, (revision,))]

    def close(self) -> None:
        """Close the file. Everything acknowledged is on the disk already."""
        self._reader.close()
        self._writer.close()
        self._bell.close()

    def _judge(self, current: Placement | None, incoming: Incoming) -> Verdict:
        stamp = None if current is None else Stamp(current.generation, current.digest)
        verdict = judge(stamp, (incoming.generation, incoming.digest))
        if verdict is Verdict.APPLY or current is None:
            return verdict
        if not self._vouched_for(current):
            # Forged, or signed with a key that was replaced: its generation says nothing about what Studio wants.
            return Verdict.APPLY
        # Damaged on the disk: the same content must be accepted again, or it could never heal.
        return Verdict.APPLY if verdict is Verdict.SAME and not current.intact else verdict

    def _hush(self) -> None:
        """Take the bell back to the store, if that was wiped or restored from a backup without it.

        A number that was rung once would otherwise be rung again, and whoever has heard it before would miss a change.
        """
        # In this order: the store is never behind a bell that belongs to it, whatever other processes do meanwhile.
        rung = self._bell.last()
        revision = self.revision()
        if rung > revision:
            self._bell.ring(revision)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise


def _select(connection: sqlite3.Connection, kind: str, name: str) -> Placement | None:
    query = f"SELECT {_COLUMNS} FROM placement WHERE kind = ? AND name = ?"  # noqa: S608 (constant)
    row = connection.execute(query, (kind, name)).fetchone()
    return None if row is None else Placement(*row)


def _upsert(connection: sqlite3.Connection, incoming: Incoming) -> Placement:
    connection.execute("UPDATE store SET revision = revision + 1")
    (revision,) = connection.execute("SELECT revision FROM store").fetchone()
    placement = Placement(
        kind=incoming.kind,
        name=incoming.name,
        generation=incoming.generation,
        digest=incoming.digest,
        payload=incoming.payload,
        signature=incoming.signature,
        registration_id=uuid.uuid4().hex,
        applied_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        revision=revision,
    )
    values = [getattr(placement, column) for column in _COLUMNS.split(", ")]
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR REPLACE INTO placement ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608
    return placement
