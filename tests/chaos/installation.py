"""An installation to be broken: PostgreSQL, Valkey, Celery workers and scanners of its own, made for one run.

Nothing here needs Django; `variables` are what Studio's own processes, this one included, then read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from launcher import postgresql, probes, processes, valkey
from launcher.addresses import Port, free_port
from launcher.children import Children, Interruption
from launcher.layout import CHECKOUT, StateFolder
from launcher.postgresql import APPLICATION_ROLE, OWNER_ROLE, Cluster
from launcher.secret_values import SecretValues
from launcher.supervision import Program
from tests.chaos.processes import Process

# Its own process does the work of a web process: commands, hints after the commit.
_WORKER = ("-m", "celery", "-A", "kaizen_site", "worker", "-Q", "celery", "-c", "1", "--without-gossip",
           "--without-mingle", "-l", "INFO")  # fmt: skip

# Processes die here, and the machine does not: what was written is in the kernel's memory and survives. Commits are as
# synchronous as ever; only the wait for the disk is left out, of which recovery would do a great deal.
_DATABASE = {"fsync": "off"}

# As Studio's log and Celery's name an exception that nobody expected.
_OWN_FAULTS = ('"level": "error"', '"level": "critical"', " raised unexpected: ")


class Installation:
    """Stores and Studio's processes, in a folder that is thrown away.

    What PostgreSQL told a command is committed must survive its sudden death: commits are synchronous.
    """

    def __init__(self, *, workers: int, scanners: int) -> None:
        self._folder = StateFolder(Path(tempfile.mkdtemp(prefix="kaizen-chaos-")).resolve())
        self._folder.path.chmod(0o711)  # PostgreSQL's own account passes through
        self._folder.create()
        values = SecretValues.of(self._folder)
        self._cluster = Cluster(self._folder, values.database_passwords, values.installation)
        self._cluster.initialize(Children(Interruption()))
        database, broker = Port("database", "-", free_port()), Port("broker", "-", free_port())
        self.variables = {
            "SECRET_KEY": values.secret_key,
            "KAIZEN_ENCRYPTION_KEYS": values.encryption_keys,
            "KAIZEN_STATE_DIR": str(self._folder.path),
            "KAIZEN_ALLOWED_GATEWAY_NETWORKS": "127.0.0.0/8",
            "DATABASE_URL": self._cluster.url(database, APPLICATION_ROLE),
            "DATABASE_OWNER_URL": self._cluster.url(database, OWNER_ROLE),
            "REDIS_URL": valkey.url(broker, values.redis_password),
        }
        program = self._cluster.program(database, settings=_DATABASE)
        self.database = self._store(program, merciless=signal.SIGQUIT)
        self.broker = self._store(valkey.program(self._folder, broker, values.redis_password))
        self.workers = [self._studio(f"worker-{number}", _WORKER, " ready.") for number in range(1, workers + 1)]
        self.scanners = [
            self._studio(f"scanner-{number}", ("manage.py", "scan"), "scanning with")
            for number in range(1, scanners + 1)
        ]

    @property
    def folder(self) -> Path:
        """Everything of the run: data and logs."""
        return self._folder.path

    @property
    def processes(self) -> list[Process]:
        """All of them, in the order in which they start."""
        return [self.database, self.broker, *self.workers, *self.scanners]

    def start_stores(self) -> None:
        """Start PostgreSQL and Valkey, and migrate."""
        for store in (self.database, self.broker):
            store.start()
        for store in (self.database, self.broker):
            store.wait_ready()
        subprocess.run(
            [sys.executable, "manage.py", "migrate_installation"],
            cwd=CHECKOUT,
            env=self._environment(self.variables),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start_studio(self) -> None:
        """Start workers and scanners."""
        working = [*self.workers, *self.scanners]
        for process in working:
            process.start()
        with ThreadPoolExecutor(len(working)) as pool:
            list(pool.map(Process.wait_ready, working))

    def remove(self) -> None:
        """End every process of the run, also those that a killed one left behind, and delete the folder."""
        for process in reversed(self.processes):
            process.end()
        processes.sweep(self._folder)
        postgresql.remove(self._folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def failures(self) -> list[str]:
        """What Studio's processes logged as errors of their own. What others do to them is no error, but a warning."""
        studio = [*self.workers, *self.scanners]
        lines = [(each.name, line) for each in studio for line in each.log.read_text(errors="replace").splitlines()]
        return [f"{name}: {line[:300]}" for name, line in lines if any(mark in line for mark in _OWN_FAULTS)]

    def marked(self, environment: dict[str, str]) -> dict[str, str]:
        """An environment whose processes `remove` recognizes as this run's."""
        return {**environment, processes.MARKER: str(self._folder.path)}

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        return self.marked({**os.environ, **variables, "PYTHONUNBUFFERED": "1"})

    def _store(self, program: Program, merciless: signal.Signals = signal.SIGKILL) -> Process:
        return Process(
            name=program.name,
            command=program.command,
            environment=self.marked({"PATH": os.environ["PATH"], **program.environment}),
            log=self._log(program.name),
            ready=lambda: program.ready,
            account=program.account,
            merciless=merciless,
        )

    def _studio(self, name: str, arguments: tuple[str, ...], says: str) -> Process:
        # The application's database role alone, as in production.
        variables = {key: value for key, value in self.variables.items() if key != "DATABASE_OWNER_URL"}
        environment = self._environment(variables)
        environment.pop("DATABASE_OWNER_URL", None)
        log = self._log(name)
        return Process(name, (sys.executable, *arguments), environment, log, ready=partial(probes.log_says, log, says))

    def _log(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"
