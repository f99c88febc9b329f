"""The other way of starting: a PostgreSQL and a Redis that somebody else runs replace the embedded ones."""

from __future__ import annotations

import shutil

import pytest

from tests.harness.debian_services import given_postgresql, given_redis, postgresql_binaries
from tests.harness.launcher import Terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        postgresql_binaries() is None or shutil.which("redis-server") is None,
        reason="needs Debian's packages postgresql and redis-server",
    ),
]


def test_given_services_replace_the_embedded_ones(terminal: Terminal) -> None:
    with given_postgresql() as database, given_redis() as broker:
        terminal.variables |= {**database, **broker}
        launched = terminal.start()
        launched.wait_for("running; Ctrl-C stops it", within=240)
        panel = terminal.panel()
        started = terminal.left_behind()
        code = launched.interrupt()

    assert panel["ready"] is True
    assert not [line for line in started if "bin/postgres" in line or "valkey-server" in line]
    assert not (terminal.folder.path / "postgresql").exists()
    assert code == 0
    assert terminal.left_behind() == []
