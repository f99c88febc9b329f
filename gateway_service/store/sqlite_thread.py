"""A SQLite file whose work happens in a thread of its own, so that no request waits for a disk on the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from gateway_service.store.database import connect, initialize

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

_T = TypeVar("_T")


class SqliteThread:
    """One connection in one thread: what is handed over first is done first.

    Attributes:
        connection: for use in `do` only.
    """

    def __init__(self, path: Path, schema: str) -> None:
        """Open the file, creating what is missing. Blocks on the disk.

        Raises:
            sqlite3.DatabaseError: the file is no database, or is damaged.
        """
        initialize(path, schema)
        self.connection: sqlite3.Connection = connect(path, durable=False)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)

    async def do(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something with the connection. It is done also if whoever waits for it is cancelled.

        Raises:
            sqlite3.Error: the disk or the file refused.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Look and write in one step, also among processes."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        """Do what was handed over, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self.connection.close()
