"""Connections of processes with many threads."""

from __future__ import annotations

import pytest
from psycopg_pool.base import AttemptWithBackoff

from apps.core.database import save_rows
from apps.core.models import IdempotencyRecord


def test_a_pool_looks_for_a_database_that_was_away_as_often_as_at_first() -> None:
    attempt = AttemptWithBackoff(timeout=300)
    delays = []
    for moment in range(6):
        attempt.update_delay(float(moment))
        delays.append(attempt.delay)
    assert delays == pytest.approx([delays[0]] * 6)


def test_a_field_that_the_rows_do_not_have_is_no_silence() -> None:
    with pytest.raises(ValueError, match="has no field stauts"):
        save_rows([IdempotencyRecord(key="a")], ["status", "stauts"])
