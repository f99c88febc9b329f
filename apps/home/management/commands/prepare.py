"""`manage.py prepare`: migrate and seed in one process, because importing Django twice would double the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """What stands between an empty database and a running installation."""

    help = "Migrate the installation and complete the demonstration. Needs DATABASE_OWNER_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--secrets", required=True, type=Path, help="file to write the sign-ins and keys to (0600)")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate_installation")
        call_command("seed", secrets=options["secrets"])
