"""A backup of the running installation, and the way back."""

from __future__ import annotations

import json
import stat
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Studio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_what_was_backed_up_comes_back_and_nothing_else(studio: Studio, tmp_path: Path) -> None:
    archive = tmp_path / "installation.tar"
    _manage(studio, "backup", str(archive))
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    with studio.api() as api:
        agent = {"slug": "after-the-backup", "name": "Later", "instructions": "Come later."}
        assert api.post("/agents/", json=agent).status_code == 201
        key = api.post("/caller-keys/", json={"environment": "development", "name": "Later"}).json()
        before = api.get("/events/").json()["results"][0]["sequence"]

    refused = studio.terminal.run("manage", "restore", str(archive))
    assert refused.returncode != 0
    assert "--replace" in refused.stderr
    _manage(studio, "restore", str(archive), "--replace")

    with studio.api() as api:
        assert api.get("/agents/after-the-backup/").status_code == 404
        assert api.get("/agents/greeter/").status_code == 200
        assert api.get(f"/caller-keys/{key['id']}/").status_code == 404
        events = api.get("/events/").json()["results"]
        assert events[0]["sequence"] < before
        assert api.get("/events/verification/").json()["intact"] is True
    # Gateways are ahead of what was restored; they go on serving, and agree with Studio again by themselves.
    _wait_until_settled(studio)
    assert studio.terminal.panel()["ready"] is True


def test_a_damaged_backup_is_refused_before_anything_changes(studio: Studio, tmp_path: Path) -> None:
    archive = tmp_path / "installation.tar"
    _manage(studio, "backup", str(archive))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)

    done = studio.terminal.run("manage", "restore", str(archive), "--replace")

    assert done.returncode != 0
    assert "damaged" in done.stderr
    with studio.api() as api:
        assert api.get("/agents/greeter/").status_code == 200
    again = studio.terminal.run("manage", "backup", str(archive))
    assert again.returncode != 0
    assert "overwrites nothing" in again.stderr


def _manage(studio: Studio, *arguments: str) -> None:
    done = studio.terminal.run("manage", *arguments)
    assert done.returncode == 0, done.stderr


def _wait_until_settled(studio: Studio) -> None:
    deadline = time.monotonic() + 60
    with studio.api() as api:
        while True:
            deployments = api.get("/deployments/").json()["results"]
            states = {each["registration"]: each["status"] for each in deployments}
            if json.dumps(states).count("running") == len(states):
                return
            assert time.monotonic() < deadline, states
            time.sleep(0.5)
