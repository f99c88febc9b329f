"""Connections of processes with many threads."""

from __future__ import annotations

import pytest
from psycopg_pool.base import AttemptWithBackoff

import apps.core.database  # noqa: F401 (which sets how pools try again)


def test_a_pool_looks_for_a_database_that_was_away_as_often_as_at_first() -> None:
    attempt = AttemptWithBackoff(timeout=300)
    delays = []
    for moment in range(6):
        attempt.update_delay(float(moment))
        delays.append(attempt.delay)
    assert delays == pytest.approx([delays[0]] * 6)
