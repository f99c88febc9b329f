"""`python -m tests.chaos`: one run on an installation of its own. The last line of its output are the figures as JSON.

`make test` runs it short, `make bench-chaos` long. Ends with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from launcher.children import interruptible
from launcher.errors import Interrupted
from tests.chaos.installation import Installation


def main(arguments: Sequence[str] | None = None) -> int:
    """Make an installation, run, report, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many deaths")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KAIZEN_CHAOS_SEED", "1")))
    parser.add_argument("--gateways", type=int, default=10)
    parser.add_argument("--tenants", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="Celery workers")
    parser.add_argument("--scanners", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.2, help="share of requests that meet a fault, 0 to 1")
    chosen = parser.parse_args(arguments)
    with interruptible():
        installation = Installation(workers=chosen.workers, scanners=chosen.scanners)
        try:
            installation.start_stores()
            return _run(installation, chosen)
        except Interrupted as error:
            return 128 + error.signal_number
        finally:
            installation.remove()


def _run(installation: Installation, chosen: argparse.Namespace) -> int:
    os.environ.update(installation.variables, DJANGO_SETTINGS_MODULE="kaizen_site.settings")
    import django

    django.setup()
    # Only now is there a Studio to import.
    from tests.chaos.proxy import Weather
    from tests.chaos.run import Run

    installation.start_studio()
    run = Run(
        installation,
        seed=chosen.seed,
        kills=chosen.kills,
        tenants=chosen.tenants,
        gateways=chosen.gateways,
        weather=Weather(rate=chosen.faults),
    )
    try:
        report = run.go()
    finally:
        run.close()
    sys.stderr.write(f"{report.in_words()}\n")
    for check, problems in report.problems.items():
        for problem in problems[:20]:
            sys.stderr.write(f"{check}: {problem}\n")
    sys.stdout.write(f"{json.dumps(report.figures())}\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
