"""What a gateway truly did: a trigger in its store notes each placement that is written, in the same transaction.

The gateway itself keeps only the newest generation of a thing, and says what it did only to whoever asked. An observer
on the network misses what was applied and never answered, because the process died in between.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_service.store.placements import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

_INSTALL = """
CREATE TABLE IF NOT EXISTS chaos_applied (
    at REAL NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, digest TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS chaos_inserted AFTER INSERT ON placement BEGIN
    INSERT INTO chaos_applied VALUES (
        (julianday('now') - 2440587.5) * 86400.0, NEW.kind, NEW.name, NEW.generation, NEW.digest
    );
END;
CREATE TRIGGER IF NOT EXISTS chaos_updated AFTER UPDATE ON placement BEGIN
    INSERT INTO chaos_applied VALUES (
        (julianday('now') - 2440587.5) * 86400.0, NEW.kind, NEW.name, NEW.generation, NEW.digest
    );
END;
"""
_READ = "SELECT at, kind, name, generation, digest FROM chaos_applied ORDER BY rowid"
_BUSY_S = 20.0


@dataclass(frozen=True)
class Applied:
    """A placement that took effect on a gateway.

    Attributes:
        gateway: its name in the run.
        life: counts the stores that the gateway has had; each wipe begins another.
        at: when it was written, in seconds since 1970.
    """

    gateway: str
    life: int
    at: float
    kind: str
    name: str
    generation: int
    digest: str


def install(data_dir: Path) -> None:
    """Begin to record what is written into a gateway's store, which must exist."""
    with closing(sqlite3.connect(data_dir / FILE_NAME, timeout=_BUSY_S)) as store:
        store.executescript(_INSTALL)


def read(data_dir: Path, *, gateway: str, life: int) -> list[Applied]:
    """Everything that was written into the store so far, in order."""
    with closing(sqlite3.connect(data_dir / FILE_NAME, timeout=_BUSY_S)) as store:
        return [Applied(gateway, life, *row) for row in store.execute(_READ)]
