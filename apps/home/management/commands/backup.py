"""`manage.py backup FILE`: the whole installation in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from apps.audit.models import ChainHead
from apps.core.errors import StudioError
from apps.core.tenancy import public, tenant
from apps.tenants.backup import write_backup
from apps.tenants.owner import become_owner
from apps.tenants.queries import reconciled_organizations

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Reads one consistent state; Studio goes on meanwhile."""

    help = "Back up the whole installation into FILE (new, mode 0600). Needs DATABASE_OWNER_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        become_owner()
        try:
            manifest = write_backup(options["file"], {"organizations": heads()})
        except StudioError as error:
            raise CommandError(error.message) from error
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be written: {error.strerror}.") from error
        size = manifest["parts"]["database.dump"]["bytes"]
        self.stdout.write(
            f"backed up {len(manifest['organizations'])} organizations, {size:,} bytes: {options['file']}"
        )
        self.stdout.write("Keep KAIZEN_ENCRYPTION_KEYS elsewhere: secrets in the backup cannot be read without them.")


def heads() -> dict[str, list[Any]]:
    """The end of each log, `{schema: [sequence, hash]}`, by which a restore is checked."""
    found: dict[str, list[Any]] = {}
    for organization in reconciled_organizations():
        with tenant(organization.schema_name):
            found[organization.schema_name] = _head()
    with public():
        found["public"] = _head()
    return found


def _head() -> list[Any]:
    head = ChainHead.objects.filter(id=True).first() or ChainHead()
    return [head.sequence, head.hash]
