"""Django's cache of content types, kept apart by schema.

The numbers of content types differ between `public` and the organizations. Django caches them per process, and
django-tenants empties that cache at every change of schema, for all threads: a thread that read in between would look
for grants under another schema's number.
"""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections


class _CachePerSchema(dict[Any, dict[Any, ContentType]]):
    """What the manager keeps per database alias, kept per alias and schema, and cleared for the present one only."""

    def __getitem__(self, using: str) -> dict[Any, ContentType]:
        return super().__getitem__(_key(connections[using]))

    def setdefault(self, using: str, default: Any = None) -> dict[Any, ContentType]:
        return super().setdefault(_key(connections[using]), default)

    def clear(self) -> None:
        # A connection that is being made selects its schema, which comes here, before it can be asked for.
        for connection in connections.all(initialized_only=True):
            self.pop(_key(connection), None)


def _key(connection: Any) -> tuple[str, str]:
    return connection.alias, connection.schema_name


def keep_apart_by_schema() -> None:
    """Replace the manager's cache. Django offers no setting for it; the attribute is as old as the manager."""
    ContentType.objects._cache = _CachePerSchema()  # type: ignore[attr-defined]  # noqa: SLF001
