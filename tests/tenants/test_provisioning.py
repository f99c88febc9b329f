"""An organization's schema: the same as a migrated one, whole or not there, and out of the application's hands."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from apps.accounts.commands import create_organization, found
from apps.accounts.models import User
from apps.accounts.tasks import found_pending
from apps.core.actors import Actor
from apps.core.errors import Conflict, Invalid
from apps.core.ports import founding_steps
from apps.core.tenancy import public, tenant
from apps.tenants import provisioning
from apps.tenants.models import Domain, Organization, SchemaTemplate
from apps.tenants.provisioning import TEMPLATE, drop, template_digest
from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")

# What PostgreSQL's catalogue says of a schema, kind by kind, with the schema's own name taken out.
CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
               a.attcollation, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            AND a.attnum > 0 AND NOT a.attisdropped""",
    "relations": """
        SELECT relname, relkind, relpersistence, relrowsecurity, reloptions FROM pg_class
        WHERE relnamespace = %(schema)s::regnamespace""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, condeferrable, condeferred, convalidated,
               pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = %(schema)s",
    "triggers": """
        SELECT c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid) FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = %(schema)s::regnamespace AND NOT t.tgisinternal""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = %(schema)s::regnamespace AND prokind IN ('f', 'p')""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, min_value, max_value, cycle, cache_size
        FROM pg_sequences WHERE schemaname = %(schema)s""",
    "types": """
        SELECT typname, typtype FROM pg_type
        WHERE typnamespace = %(schema)s::regnamespace AND typtype IN ('e', 'd', 'r')""",
}
# What founding adds to a fresh schema; everything else is the template's, row by row.
FILLED_BY_FOUNDING = {
    "accounts_user", "accounts_user_groups", "account_emailaddress", "audit_event", "audit_chainhead",
    "gateways_environment", "gateways_signingkey", "guardian_groupobjectpermission", "tenants_duework",
}  # fmt: skip


def _described(schema: str, query: str) -> list[Any]:
    with connections["owner"].cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        cursor.execute(query, {"schema": schema})
        rows = [tuple(str(value).replace(schema, "SCHEMA") for value in row) for row in cursor.fetchall()]
    connections["owner"].set_schema_to_public()  # type: ignore[attr-defined]
    return sorted(rows)


@pytest.fixture
def owner_allowed(installation: dict[str, Inhabited], django_db_blocker: Any) -> Any:
    """Statements of the owner's role, which are committed; the test removes what it makes."""
    with django_db_blocker.unblock():
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        yield
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        connections.close_all()


@pytest.fixture
def reserved(owner_allowed: None) -> Any:
    """An organization that has an address and no schema yet."""
    with public():
        organization = create_organization(
            actor=SYSTEM, slug="initech", name="Initech", owner_email="bill@initech.example", base_domain="localhost"
        )
    yield organization
    with public():
        drop(organization)
        Domain.objects.filter(tenant=organization).delete()
        Organization.objects.filter(pk=organization.pk).delete()


def _without_casts(row: tuple[str, ...]) -> tuple[str, ...]:
    """PostgreSQL writes a list of texts in a check with the casts in other places once it has read its own writing."""
    return tuple(re.sub(r"::(character varying|text)(\[\])?|[()]", "", value) for value in row)


@pytest.mark.parametrize("kind", CATALOGUE)
def test_a_replayed_schema_equals_the_migrated_one(owner_allowed: None, kind: str) -> None:
    migrated, replayed = _described(TEMPLATE, CATALOGUE[kind]), _described("t_acme", CATALOGUE[kind])
    assert [_without_casts(row) for row in replayed] == [_without_casts(row) for row in migrated]
    assert migrated or kind == "types"


def test_its_rows_are_the_templates(owner_allowed: None) -> None:
    differing = []
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [TEMPLATE])
        for (table,) in cursor.fetchall():
            if table in FILLED_BY_FOUNDING:
                continue
            rows = []
            for schema in (TEMPLATE, "t_acme"):
                cursor.execute(f'SELECT to_jsonb(row)::text FROM "{schema}"."{table}" AS row ORDER BY 1')
                rows.append(cursor.fetchall())
            if rows[0] != rows[1]:
                differing.append((table, len(rows[0]), len(rows[1])))
    assert differing == []


def test_identities_go_on_after_the_templates_rows(acme: Inhabited) -> None:
    """A sequence that began anew would collide with the first row that the template brought along."""
    from django.contrib.auth.models import Group

    taken = set(Group.objects.values_list("pk", flat=True))
    assert Group.objects.create(name="another").pk not in taken


def test_founding_makes_an_organization_that_works(reserved: Organization) -> None:
    assert reserved.status == Organization.Status.PROVISIONING
    owner = found(reserved)
    assert reserved.status == Organization.Status.ACTIVE
    assert reserved.template_digest == template_digest()
    with tenant(reserved.schema_name):
        assert User.objects.get() == owner
        assert list(owner.groups.values_list("name", flat=True)) == ["owner"]


def test_founding_twice_changes_nothing(reserved: Organization) -> None:
    first = found(reserved)
    second = found(reserved)
    assert first == second
    with tenant(reserved.schema_name):
        assert User.objects.count() == 1


def _schema_exists(schema: str) -> bool:
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema])
        return bool(cursor.fetchone()[0])


def test_a_failure_in_the_middle_leaves_no_schema(reserved: Organization) -> None:
    template = SchemaTemplate.objects.get()
    half = template.sql[: len(template.sql) // 2].rpartition(";\n")[0]
    try:
        SchemaTemplate.objects.using("owner").update(sql=f"{half};\nSELECT 1/0;\n")
        with pytest.raises(DatabaseError, match="division by zero"):
            found(reserved)
        assert not _schema_exists(reserved.schema_name)
        with public():
            assert Organization.objects.get(pk=reserved.pk).status == Organization.Status.PROVISIONING
    finally:
        SchemaTemplate.objects.using("owner").update(sql=template.sql)
    found(reserved)
    assert _schema_exists(reserved.schema_name)


def test_a_crash_between_schema_and_owner_is_taken_up_again(
    reserved: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to be open without an owner, and no task looked at it again."""

    def crash() -> None:
        raise SystemExit

    monkeypatch.setattr("apps.accounts.commands.organizations.founding_steps", [crash])
    with pytest.raises(SystemExit):
        found(reserved)
    assert _schema_exists(reserved.schema_name)
    with public():
        assert Organization.objects.get(pk=reserved.pk).status == Organization.Status.PROVISIONING

    monkeypatch.setattr("apps.accounts.commands.organizations.founding_steps", founding_steps)
    assert found_pending() == 1
    reserved.refresh_from_db()
    assert reserved.status == Organization.Status.ACTIVE
    with tenant(reserved.schema_name):
        assert User.objects.count() == 1


def test_one_that_cannot_be_founded_says_why_and_keeps_no_other_waiting(
    reserved: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    with public():
        blocked = create_organization(
            actor=SYSTEM, slug="aaa-first", name="First", owner_email="a@first.example", base_domain="localhost"
        )
    make = provisioning.provision

    def provision(organization: Organization) -> None:
        if organization.pk == blocked.pk:
            raise Conflict("the disk is full")
        make(organization)

    monkeypatch.setattr("apps.accounts.commands.organizations.provision", provision)
    try:
        assert found_pending() == 1
        reserved.refresh_from_db()
        blocked.refresh_from_db()
        assert reserved.status == Organization.Status.ACTIVE
        assert (blocked.status, blocked.reason) == (
            Organization.Status.PROVISIONING,
            "Not set up yet: the disk is full",
        )
        monkeypatch.setattr("apps.accounts.commands.organizations.provision", make)
        assert found_pending() == 1
        blocked.refresh_from_db()
        assert (blocked.status, blocked.reason) == (Organization.Status.ACTIVE, "")
    finally:
        drop(blocked)
        Domain.objects.filter(tenant=blocked).delete()
        Organization.objects.filter(pk=blocked.pk).delete()


def test_two_workers_found_the_same_organization_once(reserved: Organization) -> None:
    problems: list[BaseException] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        try:
            with public():
                mine = Organization.objects.get(pk=reserved.pk)
            barrier.wait(timeout=20)
            found(mine)
        except BaseException as problem:
            problems.append(problem)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert problems == []
    with tenant(reserved.schema_name):
        assert User.objects.count() == 1


def test_a_stale_template_is_refused(reserved: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioning, "template_digest", lambda: "of other migrations")
    with pytest.raises(Conflict, match="migrate_installation"):
        found(reserved)
    assert not _schema_exists(reserved.schema_name)


@pytest.mark.parametrize(
    "schema", ["public", "t_", "t_x; DROP SCHEMA public", "kaizen_template", "pg_catalog", "T_ACME"]
)
def test_a_schema_of_another_name_is_never_made(owner_allowed: None, schema: str) -> None:
    with pytest.raises(Conflict, match="no name"):
        provisioning.provision(Organization(schema_name=schema))


@pytest.mark.parametrize(
    "slug",
    [
        "ab",
        "-acme",
        "acme-",
        "1acme",
        "ac_me",
        "ac me",
        "a" * 41,
        "acme.x",
        "ümlaut",
        "",
        "admin",
        "www",
        "public",
        "api",
    ],
)
def test_an_address_that_is_not_acceptable_names_its_field(db: None, slug: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_organization(actor=SYSTEM, slug=slug, name="X", owner_email="a@b.example", base_domain="localhost")
    assert "slug" in refusal.value.fields


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"name": " "}, "name"), ({"name": "x" * 121}, "name"), ({"owner_email": "nobody"}, "owner_email")],
)
def test_other_bad_input_names_its_field(db: None, arguments: dict[str, str], field: str) -> None:
    good = {"slug": "initech", "name": "Initech", "owner_email": "bill@initech.example"}
    with pytest.raises(Invalid) as refusal:
        create_organization(actor=SYSTEM, **{**good, **arguments}, base_domain="localhost")
    assert field in refusal.value.fields


def test_an_address_is_given_once(acme: Inhabited) -> None:
    with public(), pytest.raises(Conflict, match="taken"):
        create_organization(actor=SYSTEM, slug="acme", name="Acme", owner_email="a@b.example", base_domain="localhost")


class TestReplayable:
    """What is taken out of a dump: what is for psql, and nothing of what rows and functions say."""

    def test_it_drops_what_stands_between_statements(self) -> None:
        around = "--\n-- A comment\n\\restrict x\nSET a = b;\nSELECT pg_catalog.set_config('x', '', false);\n"
        assert provisioning._replayable(f"{around}CREATE TABLE t ();\n{around}") == "CREATE TABLE t ();\n"

    def test_it_keeps_what_looks_the_same_inside_a_row(self) -> None:
        row = "INSERT INTO t VALUES ('first\n-- not a comment\nSET x = y;\n\\restrict\n\nit''s the end');\n"
        assert provisioning._replayable(f"SET a = b;\n{row}-- gone\n{row}") == row * 2

    @pytest.mark.parametrize("tag", ["$$", "$_$", "$body$"])
    def test_it_keeps_what_looks_the_same_inside_a_function(self, tag: str) -> None:
        body = f"CREATE FUNCTION f() RETURNS trigger AS {tag}\nBEGIN\n-- don't\nSET x = 1;\nEND;\n{tag};\n"
        assert provisioning._replayable(f"{body}SET a = b;\n") == body

    def test_a_dollar_sign_in_a_text_opens_nothing(self) -> None:
        row = "INSERT INTO t VALUES ('pbkdf2$1000$abc', 'costs $$ and $x$');\n"
        assert provisioning._replayable(f"{row}SET a = b;\n{row}") == row * 2


class TestTwoRoles:
    """The application's role cannot change the shape of anything, nor what the owner's role trusts."""

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE SCHEMA intruder",
            "CREATE TABLE t_acme.intruder (id int)",
            "CREATE TABLE public.intruder (id int)",
            "CREATE FUNCTION public.intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP TABLE agents_agent",
            "DROP SCHEMA t_acme CASCADE",
            "DROP SCHEMA t_globex CASCADE",
            "ALTER TABLE agents_agent ADD COLUMN intruder int",
            "ALTER TABLE audit_event DISABLE TRIGGER ALL",
            "TRUNCATE agents_agent",
            "CREATE ROLE intruder",
            "ALTER ROLE CURRENT_USER CREATEDB",
            "CREATE DATABASE intruder",
            "UPDATE public.tenants_schematemplate SET sql = 'DROP SCHEMA public CASCADE'",
            "INSERT INTO public.tenants_schematemplate (digest, sql, made_at) VALUES ('x', 'x', now())",
            "DELETE FROM public.tenants_schematemplate",
            "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'x', now())",
            "UPDATE django_migrations SET name = 'x'",
            "DELETE FROM public.django_migrations",
            "GRANT ALL ON SCHEMA t_acme TO PUBLIC",
            "SET ROLE kaizen_owner",
            "CREATE RULE x AS ON INSERT TO agents_agent DO INSTEAD NOTHING",
            "COPY agents_agent TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
        ],
    )  # fmt: skip
    def test_it_may_not(self, acme: Inhabited, statement: str) -> None:
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            if statement.startswith("GRANT"):
                # A grant of what one does not hold is a warning and no error.
                cursor.execute("SELECT has_schema_privilege('public', 't_acme', 'CREATE')")
                assert cursor.fetchone() == (False,)
                raise DatabaseError("no privileges were granted")

    def test_it_is_neither_superuser_nor_owner_of_anything(self, acme: Inhabited) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls FROM pg_roles"
                " WHERE rolname = current_user"
            )
            assert cursor.fetchone() == (False,)
            cursor.execute("SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT has_database_privilege(current_database(), 'CREATE')")
            assert cursor.fetchone() == (False,)
            cursor.execute("SELECT count(*) FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE')")
            assert cursor.fetchone() == (0,)
