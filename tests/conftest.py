"""Fixtures for stories about Studio: a migrated installation with two organizations, on a real PostgreSQL.

`make test` starts PostgreSQL and Valkey and sets the variables; see `launcher/testing.py`. Tests run in a transaction
that is rolled back, as the application's role. A test whose other processes or threads must see its rows asks for
`live_organization` instead, which founds an organization of its own and drops it afterwards.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.world import Api, Inhabited

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave browser stories out where there is no browser, and say how to run them."""
    from tests.harness.browser import LEFT_OUT, is_there

    if is_there():
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT))


@pytest.fixture(scope="session")
def installation(django_db_blocker: Any) -> Iterator[dict[str, Inhabited]]:
    """The database migrated by the owner's role, as `make up` does it, with acme and globex founded for good."""
    subprocess.run(
        [sys.executable, "manage.py", "migrate_installation"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    from apps.tenants.models import Organization
    from tests.harness.world import inhabit

    with django_db_blocker.unblock():
        existing = set(Organization.objects.values_list("slug", flat=True))
        if "acme" in existing:
            raise pytest.UsageError("The database holds organizations already; tests want one of their own.")
        yield {slug: inhabit(slug) for slug in ("acme", "globex")}


@pytest.fixture(scope="session")
def django_db_setup(installation: dict[str, Inhabited]) -> None:
    """Replaces pytest-django's own set-up: tests use the installation as migrated, not a `test_` copy of it."""


@pytest.fixture
def acme(db: None, installation: dict[str, Inhabited]) -> Iterator[Inhabited]:
    """The test runs inside acme's schema."""
    from django.db import connection

    from apps.tenants.queries import forget_hosts

    # What the test before changed about an organization was rolled back, but is remembered for two seconds.
    forget_hosts()
    world = installation["acme"].reread()
    connection.set_tenant(world.organization)  # type: ignore[attr-defined]
    yield world
    connection.set_schema_to_public()  # type: ignore[attr-defined]


@pytest.fixture
def globex(db: None, installation: dict[str, Inhabited]) -> Inhabited:
    """Another organization, for stories about isolation."""
    return installation["globex"].reread()


@pytest.fixture
def api_for(acme: Inhabited) -> Callable[[str], Api]:
    """A client of acme's API with a token of the given role."""
    return acme.api


@pytest.fixture
def live_organization(installation: dict[str, Inhabited], django_db_blocker: Any) -> Iterator[Inhabited]:
    """An organization whose rows are committed and seen by every process and thread; dropped at the end."""
    from tests.harness.world import settled

    with django_db_blocker.unblock(), settled() as inhabited:
        yield inhabited
