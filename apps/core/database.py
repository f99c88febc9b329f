"""Connections of processes with many threads that mostly wait for something else than the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, connections
from psycopg_pool.base import AttemptWithBackoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

_LONGEST_LIFE_S = 900
_WAIT_S = 10

# A pool tries to connect again after 1 s, and would then wait twice as long each time: a database away for four
# seconds is found up to four seconds late. A try a second harms nobody. The library offers no other way to say so.
AttemptWithBackoff.DELAY_BACKOFF = 1.0


def use_pool(most: int) -> None:
    """Share at most `most` connections among all threads of this process, from now on.

    The web process says so in its environment; this is for processes that know by themselves. Connections end after a
    while, because a backend's memory grows with the schemas that it touched.
    """
    config = connections.settings["default"]
    if "pool" in config["OPTIONS"]:
        return
    pool = {"min_size": 1, "max_size": most, "timeout": _WAIT_S, "max_lifetime": _LONGEST_LIFE_S}
    connections["default"].close()
    config["OPTIONS"] = {**config["OPTIONS"], "pool": pool}
    config["CONN_MAX_AGE"] = 0
    config["CONN_HEALTH_CHECKS"] = True


def let_go() -> None:
    """Give this thread's connection back to the pool before waiting for something else; without a pool, do nothing."""
    if "pool" in connection.settings_dict["OPTIONS"] and not connection.in_atomic_block:
        connection.close()


def save_rows(rows: Sequence[Model], fields: Sequence[str]) -> None:
    """Write some fields of rows that exist, each with its own values, in one round trip.

    `bulk_update` builds one statement of nested CASEs instead, which for 25 rows takes longer to build than to run.

    Raises:
        ValueError: the rows have no such field.
    """
    if not rows:
        return
    meta = type(rows[0])._meta
    unknown = set(fields) - {field.name for field in meta.concrete_fields}
    if unknown:
        raise ValueError(f"{meta.label} has no field {', '.join(sorted(unknown))}")
    columns = [field for field in meta.concrete_fields if field.name in fields]
    quoted = connection.ops.quote_name
    assignments = ", ".join(f"{quoted(str(field.column))} = %s" for field in columns)
    key = quoted(str(meta.pk.column))
    values = [
        [*(field.get_db_prep_save(field.pre_save(row, add=False), connection) for field in columns), row.pk]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {quoted(meta.db_table)} SET {assignments} WHERE {key} = %s", values)  # noqa: S608
