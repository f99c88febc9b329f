"""`manage.py migrate_installation`: bring the public schema, the template and every organization up to date."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from apps.core.errors import StudioError
from apps.tenants.models import Domain, Organization, SchemaTemplate
from apps.tenants.owner import become_owner
from apps.tenants.provisioning import grant, migrating, refresh_template, template_digest, update_content


class Command(BaseCommand):
    """Runs as the owner role; a quick no-op when nothing is behind."""

    help = "Migrate the public schema, the template and every organization's schema. Needs DATABASE_OWNER_URL."

    def handle(self, *args: Any, **options: Any) -> None:
        become_owner()
        with migrating():
            connection.set_schema_to_public()  # type: ignore[attr-defined]  # django-tenants' wrapper
            self._public()
            digest = template_digest()
            if refresh_template():
                self.stdout.write(f"made the template of {digest[:12]}")
            failed = [organization for organization in _behind(digest) if not self._migrate(organization, digest)]
        if failed:
            names = ", ".join(organization.slug for organization in failed)
            raise CommandError(f"Not migrated, and closed to their members until they are: {names}. See above for why.")

    def _public(self) -> None:
        behind = _lacks_a_migration()
        if behind:
            self.stdout.write("migrating the public schema")
            call_command("migrate_schemas", schema_name="public", interactive=False, verbosity=0)
        if behind or not SchemaTemplate.objects.filter(digest=template_digest()).exists():
            update_content("public")
        self._public_organization()
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

    def _migrate(self, organization: Organization, digest: str) -> bool:
        """Bring one organization up to date. What fails for one must not keep the others behind."""
        schema = organization.schema_name
        self.stdout.write(f"migrating {schema}")
        try:
            call_command("migrate_schemas", schema_name=schema, interactive=False, verbosity=0)
            update_content(schema)
            connection.set_schema_to_public()  # type: ignore[attr-defined]
            with connection.cursor() as cursor:
                grant(cursor, schema)
            Organization.objects.filter(pk=organization.pk).update(template_digest=digest)
        except (DatabaseError, StudioError, CommandError) as error:
            self.stderr.write(f"{schema}: {type(error).__name__}: {error}")
            return False
        finally:
            connection.set_schema_to_public()  # type: ignore[attr-defined]
        return True


def _behind(digest: str) -> list[Organization]:
    """The organizations whose schema exists and is not of these migrations; one query, however many there are."""
    stale = Organization.objects.exclude(schema_name="public").exclude(template_digest=digest)
    # One that is being set up has a schema only if a founding was interrupted; then its digest says of which template.
    return list(stale.exclude(status=Organization.Status.PROVISIONING, template_digest=""))


def _lacks_a_migration() -> bool:
    """Whether a migration on disk is not recorded in the public schema."""
    labels = {name.rpartition(".")[2] for name in settings.SHARED_APPS}
    known = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    wanted = {key for key in known if key[0] in labels}
    if MigrationRecorder.Migration._meta.db_table not in connection.introspection.table_names():
        return True
    recorded = MigrationRecorder(connection).applied_migrations()
    return not wanted <= set(recorded)
