"""The one way into a tenant's schema outside a request: tasks, the scanner and consumers use it and nothing else."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connection
from django_tenants.utils import get_public_schema_name, schema_context

from apps.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

_KNOWN_FOR_S = 60.0
_known: dict[str, float] = {}


def current_schema() -> str:
    """The schema that queries of this thread go to."""
    return str(connection.schema_name)  # type: ignore[attr-defined]  # django-tenants' wrapper


def in_public() -> bool:
    return current_schema() == str(get_public_schema_name())


def require_schema(schema: str) -> None:
    """Refuse a schema that does not exist: PostgreSQL would skip it in the search path and write to `public`.

    Raises:
        NotFound: there is no such schema.
    """
    now = time.monotonic()
    if _known.get(schema, 0.0) > now:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('%%I.%%I', %s::text, 'audit_event')) IS NOT NULL", [schema])
        (exists,) = cursor.fetchone()
    if not exists:
        raise NotFound(f"The schema of “{schema}” does not exist.")
    _known[schema] = now + _KNOWN_FOR_S


def forget_schema(schema: str) -> None:
    """Drop what this process remembers of a schema that was removed."""
    _known.pop(schema, None)


@contextmanager
def tenant(schema: str) -> Iterator[None]:
    """Run the block in a tenant's schema and return to where the thread was, whatever happens.

    Raises:
        NotFound: the schema does not exist.
    """
    require_schema(schema)
    with schema_context(schema):
        yield


@contextmanager
def public() -> Iterator[None]:
    """Run the block in the public schema."""
    with schema_context(get_public_schema_name()):
        yield
