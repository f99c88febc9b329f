"""`manage.py migrate_installation`: bring the public schema, the template and every organization up to date."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from psycopg import sql

from apps.tenants.models import Domain, Organization
from apps.tenants.owner import become_owner
from apps.tenants.provisioning import grant, refresh_template, template_digest, update_content


class Command(BaseCommand):
    """Runs as the owner role; a quick no-op when nothing is behind."""

    help = "Migrate the public schema, the template and every organization's schema. Needs DATABASE_OWNER_URL."

    def handle(self, *args: Any, **options: Any) -> None:
        become_owner()
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        if _behind("public", settings.SHARED_APPS):
            self.stdout.write("migrating the public schema")
            call_command("migrate_schemas", schema_name="public", interactive=False, verbosity=0)
        update_content("public")
        self._public_organization()
        if refresh_template():
            self.stdout.write(f"made the template of {template_digest()[:12]}")
        for organization in Organization.objects.exclude(schema_name="public").exclude(status="provisioning"):
            if _behind(organization.schema_name, settings.TENANT_APPS):
                self.stdout.write(f"migrating {organization.schema_name}")
                call_command("migrate_schemas", schema_name=organization.schema_name, interactive=False, verbosity=0)
            update_content(organization.schema_name)
            with connection.cursor() as cursor:
                grant(cursor, organization.schema_name)
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            grant(cursor, "public")

    def _public_organization(self) -> None:
        """The public site is an organization without members: it gives the bare host a row to be found by."""
        site, _ = Organization.objects.get_or_create(
            schema_name="public",
            defaults={"slug": "public", "name": "Kaizen Studio", "status": Organization.Status.ACTIVE},
        )
        host = urlsplit(settings.KAIZEN_PUBLIC_URL).hostname or settings.KAIZEN_BASE_DOMAIN
        for name in {host, settings.KAIZEN_BASE_DOMAIN}:
            Domain.objects.get_or_create(domain=name, defaults={"tenant": site, "is_primary": name == host})


def _behind(schema: str, apps: list[str]) -> bool:
    """Whether a migration on disk is not recorded in the schema."""
    labels = {name.rpartition(".")[2] for name in apps}
    wanted = {key for key in MigrationLoader(None, ignore_no_migrations=True).disk_migrations if key[0] in labels}
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('%%I.django_migrations', %s::text)) IS NOT NULL", [schema])
        if not cursor.fetchone()[0]:
            return True
        table = sql.Identifier(schema, MigrationRecorder.Migration._meta.db_table)
        cursor.execute(sql.SQL("SELECT app, name FROM {}").format(table))
        return not wanted <= set(cursor.fetchall())
