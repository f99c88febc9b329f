"""`manage.py scan`: find due work in the database and do it, until stopped."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from apps.core.database import use_pool
from apps.gateways.scanner import CONNECTIONS, LANES, Scanner

if TYPE_CHECKING:
    from types import FrameType


class Command(BaseCommand):
    """Needs nothing but the database and the gateways. Any number of scanners may run."""

    help = "Push to gateways and poll them, driven by the database alone. SIGTERM and Ctrl-C stop it cleanly."

    def handle(self, *args: Any, **options: Any) -> None:
        use_pool(CONNECTIONS)
        scanner = Scanner()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            scanner.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        threads = ", ".join(f"{count} {lane}" for lane, count in LANES.items())
        self.stdout.write(f"scanning with threads for {threads}")
        scanner.run()
        self.stdout.write("stopped")
