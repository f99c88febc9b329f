"""`manage.py migrate_installation`: quick when nothing is behind, and complete when something is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, connections

from apps.core.tenancy import forget_schema, public
from apps.tenants.models import Organization, SchemaTemplate
from apps.tenants.provisioning import template_digest
from tests.harness.world import Inhabited, settled

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow


def _migrate() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "migrate_installation"]
    return subprocess.run(command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, check=False)


@pytest.fixture
def two(installation: dict[str, Inhabited], django_db_blocker: Any) -> Iterator[tuple[Inhabited, Inhabited]]:
    with django_db_blocker.unblock(), settled() as first, settled() as second:
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        yield first, second


def _owner(statement: str, *values: Any) -> None:
    with connections["owner"].cursor() as cursor:
        cursor.execute(statement, values)


def _left_behind(world: Inhabited) -> None:
    """As if the organization had been founded before the last migration of telemetry, which made a table."""
    _owner(f'DROP TABLE "{world.schema}".telemetry_executionrollup')
    _owner(f"DELETE FROM \"{world.schema}\".django_migrations WHERE app = 'telemetry'")
    _owner(f'DROP TABLE "{world.schema}".telemetry_executioncursor CASCADE')
    _owner(f'DROP TABLE "{world.schema}".telemetry_execution CASCADE')
    _owner(f'DROP TABLE "{world.schema}".telemetry_modelprice')
    _owner("UPDATE public.tenants_organization SET template_digest = 'older' WHERE schema_name = %s", world.schema)


def _telemetry_tables(world: Inhabited) -> set[str]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'telemetry%%'", [world.schema]
        )
        return {name for (name,) in cursor.fetchall()}


def test_with_nothing_to_do_it_says_nothing_and_visits_no_organization(two: tuple[Inhabited, Inhabited]) -> None:
    """A schema whose tables it would need is hidden: visiting it would fail."""
    hidden, _ = two
    _owner(f'ALTER SCHEMA "{hidden.schema}" RENAME TO hidden')
    try:
        began = time.monotonic()
        done = _migrate()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert time.monotonic() - began < 30
    finally:
        _owner(f'ALTER SCHEMA hidden RENAME TO "{hidden.schema}"')


def test_an_organization_that_is_behind_is_brought_up_to_date(two: tuple[Inhabited, Inhabited]) -> None:
    behind, current = two
    tables = _telemetry_tables(current)
    _left_behind(behind)
    with behind.inside():
        Permission.objects.filter(codename="agent.publish").delete()
    assert _telemetry_tables(behind) != tables

    done = _migrate()

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"migrating {behind.schema}\n"
    assert _telemetry_tables(behind) == tables
    with public():
        assert Organization.objects.get(pk=behind.organization.pk).template_digest == template_digest()
    with behind.inside():
        assert Permission.objects.filter(codename="agent.publish").exists()
    assert behind.api("owner").get("/executions/").status_code == 200, "the application's role may use the new tables"
    assert behind.api("builder").post("/agents/", {"slug": "x", "name": "X", "instructions": "Go."}).status_code == 201


def test_one_that_cannot_be_migrated_keeps_no_other_behind(two: tuple[Inhabited, Inhabited]) -> None:
    broken, behind = two
    tables = _telemetry_tables(behind)
    _left_behind(broken)
    _left_behind(behind)
    # Something stands where the migration wants to make its table.
    _owner(f'CREATE TABLE "{broken.schema}".telemetry_execution (id int)')

    done = _migrate()

    assert done.returncode != 0
    assert broken.organization.slug in done.stderr
    assert "already exists" in done.stderr
    assert "Traceback" not in done.stderr
    assert _telemetry_tables(behind) == tables
    forget_schema(broken.schema)
    assert broken.client("owner").get("/profile/").status_code == 503, "closed to its members, and to nobody else"
    assert behind.client("owner").get("/profile/").status_code == 200

    _owner(f'DROP TABLE "{broken.schema}".telemetry_execution')
    assert _migrate().returncode == 0
    assert broken.client("owner").get("/profile/").status_code == 200


def test_two_at_the_same_moment_wait_for_each_other(two: tuple[Inhabited, Inhabited]) -> None:
    for world in two:
        _left_behind(world)
    command = [sys.executable, "manage.py", "migrate_installation"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    told = "".join(out for out, _ in outputs).splitlines()
    assert sorted(told) == sorted(f"migrating {world.schema}" for world in two)


def test_the_template_is_of_the_present_migrations(db: None) -> None:
    assert list(SchemaTemplate.objects.values_list("digest", flat=True)) == [template_digest()]
