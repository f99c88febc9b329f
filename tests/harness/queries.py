"""What a request reads from the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


def reads(ask: Callable[[], Any]) -> list[str]:
    """The SELECTs of one successful request, without finding the organization and its tables: both are remembered."""
    with CaptureQueriesContext(connection) as captured:
        assert ask().status_code == 200
    statements = [query["sql"] for query in captured.captured_queries]
    remembered = ("tenants_domain", "pg_tables")
    return [sql for sql in statements if sql.startswith("SELECT") and not any(name in sql for name in remembered)]
