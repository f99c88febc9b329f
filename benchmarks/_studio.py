"""A Studio to measure: the migrated database, one organization, and the processes that `make up` runs.

Importing this sets Django up, so benchmarks import it before anything of `apps`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaizen_site.settings")
django.setup()

from django.core.management import call_command  # noqa: E402

from launcher.layout import CHECKOUT  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_STARTED_WITHIN_S = 90.0
_STOPPED_WITHIN_S = 30.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class StudioProcess:
    """A process of the management plane that runs until the block that started it ends."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used so far, in all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])  # proc_pid_stat(5): fields 14 and 15
        return (user + system) / _TICKS_A_SECOND

    def cpu_percent(self, for_s: float) -> float:
        """How much of one core it uses in the next seconds."""
        used, began = self.cpu_s, time.monotonic()
        time.sleep(for_s)
        return 100 * (self.cpu_s - used) / (time.monotonic() - began)

    def wait_for(self, text: str) -> None:
        """Wait until it logs that it is ready."""
        wait_until(lambda: text in self.log.read_text(), _STARTED_WITHIN_S, lambda: self.log.read_text()[-2000:])


@contextmanager
def scanner() -> Iterator[StudioProcess]:
    """`manage.py scan`, ready."""
    with _running("scanner", [sys.executable, "manage.py", "scan"]) as process:
        process.wait_for("scanning with")
        yield process


@contextmanager
def worker() -> Iterator[StudioProcess]:
    """A Celery worker as `make up` starts it, ready; without beat, whose tasks would only disturb."""
    options = ("-Q", "celery,owner", "--concurrency", "2", "--without-gossip", "--without-mingle", "-l", "INFO")
    with _running("worker", [sys.executable, "-m", "celery", "-A", "kaizen_site", "worker", *options]) as process:
        process.wait_for(" ready.")
        yield process


def migrate() -> None:
    """Bring the database that the environment names up to the code, as the owner's role."""
    call_command("migrate_installation", verbosity=0)


def wait_until(
    true: Callable[[], object], within_s: float, report: Callable[[], str] = str, *, every_s: float = 0.02
) -> None:
    """Look again and again until it is true.

    Raises:
        TimeoutError: it never was; with the report.
    """
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {report()}")
        time.sleep(every_s)


def say(text: str) -> None:
    """Progress, on standard error: standard output is for the result alone."""
    print(text, file=sys.stderr, flush=True)


def show(result: dict[str, object]) -> None:
    """The result, as the last line."""
    print(json.dumps(result), flush=True)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the values do not exceed, interpolated."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@contextmanager
def _running(name: str, command: list[str]) -> Iterator[StudioProcess]:
    with tempfile.NamedTemporaryFile(prefix=f"kaizen-bench-{name}-", suffix=".log") as log:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield StudioProcess(name, process, Path(log.name))
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
