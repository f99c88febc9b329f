"""The owner's database role: the only one that may make, migrate and drop schemas.

Processes that serve people run as the application role and are not given `DATABASE_OWNER_URL` at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_application_role: list[str] = []


def owner_connection() -> BaseDatabaseWrapper:
    """The connection of the owner role.

    Raises:
        ImproperlyConfigured: this process was not given DATABASE_OWNER_URL.
    """
    if "owner" not in settings.DATABASES:
        raise ImproperlyConfigured("DATABASE_OWNER_URL is not set: this process may not make or migrate schemas.")
    return connections["owner"]


def application_role() -> str:
    """The name of the application's database role, as `DATABASE_URL` gives it."""
    return _application_role[0] if _application_role else str(settings.DATABASES["default"]["USER"])


def become_owner() -> None:
    """Turn this process's default connection into the owner's. For management commands; there is no way back.

    django-tenants migrates through the default connection only, so handing it another alias is not possible.
    """
    owner = dict(owner_connection().settings_dict)
    if not _application_role:
        _application_role.append(str(settings.DATABASES["default"]["USER"]))
    default = connections["default"]
    default.close()
    for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT"):
        default.settings_dict[name] = owner[name]
