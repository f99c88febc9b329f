"""The one way into a tenant's schema outside a request: tasks, the scanner and consumers use it and nothing else."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import structlog
from django.apps import apps
from django.conf import settings
from django.db import connection
from django_tenants.utils import get_public_schema_name, schema_context

from apps.core.errors import NotFound, NotReady

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)
_KNOWN_FOR_S = 60.0
_known: dict[str, float] = {}


def current_schema() -> str:
    """The schema that queries of this thread go to."""
    return str(connection.schema_name)  # type: ignore[attr-defined]  # django-tenants' wrapper


def in_public() -> bool:
    return current_schema() == str(get_public_schema_name())


def require_schema(schema: str) -> None:
    """Refuse a schema that lacks a table: PostgreSQL would pass over it in the search path and read and write `public`.

    Raises:
        NotFound: there is no such schema.
        NotReady: it has not been migrated to the code that runs here.
    """
    now = time.monotonic()
    if _known.get(schema, 0.0) > now:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        present = {name for (name,) in cursor.fetchall()}
    if not present:
        raise NotFound(f"The schema of “{schema}” does not exist.")
    if missing := sorted(tenant_tables() - present):
        log.error("schema_not_migrated", schema=schema, missing=missing)
        raise NotReady("This organization is being brought up to date; try again in a moment.")
    _known[schema] = now + _KNOWN_FOR_S


@cache
def tenant_tables() -> frozenset[str]:
    """The tables that every organization's schema has."""
    return frozenset(
        model._meta.db_table
        for config in apps.get_app_configs()
        if config.name in settings.TENANT_APPS
        for model in config.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    )


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
