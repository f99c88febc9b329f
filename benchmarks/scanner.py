"""What one pass of the scanner costs with 10, 100 and 1,000 organizations: none of them due, and ten of them.

An idle pass should cost the same however many there are, because it asks the due-work table and no schema. A pass with
ten due visits those ten, polls one gateway in each (a real process, which answers that nothing changed) and writes that
down; it ends when the last of them is written.

Organizations are founded as in production, schema and all, for as long as `KAIZEN_BENCH_FOUNDING_S` allows (240 s);
those beyond are rows of the due-work table without a schema behind them, which no pass measured here would visit. The
result says how many were real.

Prints `{"idle_ms": {"10", "100", "1000"}, "due_ms": {...}, "real_organizations": {...}}`, medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._studio import migrate, say, show

# isort: split
from django.utils import timezone

from apps.accounts.commands import create_organization, found
from apps.core.actors import Actor
from apps.core.database import use_pool
from apps.core.tenancy import public, tenant
from apps.gateways import due
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment, Gateway
from apps.gateways.scanner import CONNECTIONS, Scanner
from apps.tenants.models import DueWork
from tests.harness.gateway import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (10, 100, 1000)
DUE = 10
_FOUNDING_S = float(os.environ.get("KAIZEN_BENCH_FOUNDING_S", "240"))
_IDLE_PASSES, _DUE_PASSES = 200, 30
_SYSTEM = Actor.system("benchmark")


def main() -> None:
    """Measure, and print one line of JSON."""
    migrate()
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder:
        process = GatewayProcess(Path(folder) / "gateway", "http://127.0.0.1:9/v1", extra={"GATEWAY_WARM": "0"}).start()
        use_pool(CONNECTIONS)
        scanner = Scanner()
        try:
            show(_measure(Organizations(process), scanner))
        finally:
            scanner.close()
            process.kill()


def _measure(organizations: Organizations, scanner: Scanner) -> dict[str, object]:
    idle, busy, real = {}, {}, {}
    for size in SIZES:
        organizations.grow(size)
        _pass(scanner, organizations.make_due)  # opens connections
        organizations.make_idle()
        idle[str(size)] = _median_ms(_IDLE_PASSES, lambda: _pass(scanner, lambda: 0))
        busy[str(size)] = _median_ms(_DUE_PASSES, lambda: _pass(scanner, organizations.make_due))
        real[str(size)] = len(organizations.schemas)
        say(f"{size} organizations ({real[str(size)]} real): idle {idle[str(size)]} ms, {DUE} due {busy[str(size)]} ms")
    return {"idle_ms": idle, "due_ms": busy, "real_organizations": real}


def _pass(scanner: Scanner, prepare: Callable[[], int]) -> float:
    """One pass after the preparation; seconds until all its jobs have ended."""
    expected = prepare()
    began = time.perf_counter()
    started = scanner.scan()
    while scanner.busy:
        time.sleep(0.0005)
    took = time.perf_counter() - began
    if started != expected:
        raise RuntimeError(f"the pass started {started} jobs where {expected} were due")
    return took


def _median_ms(passes: int, measure: Callable[[], float]) -> float:
    return round(statistics.median(measure() for _ in range(passes)) * 1000, 2)


@dataclass
class Organizations:
    """All organizations of the measurement; the first ten have the gateway.

    Attributes:
        schemas: of those that are real.
    """

    process: GatewayProcess
    schemas: list[str] = field(default_factory=list)
    _until: float = field(default_factory=lambda: time.monotonic() + _FOUNDING_S)

    def grow(self, size: int) -> None:
        """Found organizations until there are so many, or rows in their place."""
        while len(self.schemas) < size and (len(self.schemas) < DUE or time.monotonic() < self._until):
            self.schemas.append(self._found(len(self.schemas)))
        with public():
            there = DueWork.objects.count()
            DueWork.objects.bulk_create(DueWork(schema_name=f"t_row{number}") for number in range(there, size))

    def make_idle(self) -> None:
        """Nothing is due for an hour."""
        with public():
            DueWork.objects.update(due_at=timezone.now() + timedelta(hours=1))

    def make_due(self) -> int:
        """The polls of ten organizations are due, and nothing else; returns 10."""
        for schema in self.schemas[:DUE]:
            with tenant(schema):
                due.poll_now(Gateway.objects.all())
        return DUE

    def _found(self, number: int) -> str:
        with public():
            organization = create_organization(
                actor=_SYSTEM,
                slug=f"bench{number}",
                name=f"Bench {number}",
                owner_email=f"owner@bench{number}.example",
                base_domain="localhost",
            )
        found(organization)
        schema = str(organization.schema_name)
        if number < DUE:
            with tenant(schema):
                register_gateway(
                    actor=_SYSTEM,
                    environment=Environment.objects.get(slug="production"),
                    name="gateway",
                    address=self.process.address,
                    deploy_token=self.process.token,
                )
        return schema


if __name__ == "__main__":
    main()
