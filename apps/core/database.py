"""Connections of processes with many threads that mostly wait for something else than the database."""

from __future__ import annotations

from django.db import connection, connections

_LONGEST_LIFE_S = 900
_WAIT_S = 10


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
