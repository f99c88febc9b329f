"""`manage.py seed`: the demonstration installation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import StudioError
from apps.home.seed import ENVIRONMENTS, SecretsFile, SeedGateway, seed

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Completes the demonstration installation; does nothing when it is complete."""

    help = "Make the demonstration organizations, people, gateways and agent. Needs DATABASE_OWNER_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--secrets", required=True, type=Path, help="file to write the sign-ins and keys to (0600)")

    def handle(self, *args: Any, **options: Any) -> None:
        file = SecretsFile.read(options["secrets"])
        try:
            seed(file, [_gateway(name) for name in ENVIRONMENTS])
        except StudioError as error:
            raise CommandError(error.message) from error


def _gateway(environment: str) -> SeedGateway:
    prefix = f"SEED_GATEWAY_{environment.upper()}"
    values = {name: os.environ.get(f"{prefix}_{name}", "") for name in ("ADDRESS", "TOKEN")}
    for name, value in values.items():
        if not value:
            raise CommandError(f"{prefix}_{name} is not set; `make up` sets it.")
    return SeedGateway(environment, values["ADDRESS"], values["TOKEN"])
