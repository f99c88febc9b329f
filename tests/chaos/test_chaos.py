"""Twenty deaths in one short run: nothing is lost, nothing takes effect twice, nothing stale is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from launcher.layout import CHECKOUT

_KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_dies() -> None:
    # A process of its own: it runs Studio's commands on a database that it also kills, and this one's must live.
    # KAIZEN_CHAOS_SEED names another run; the seed stands in the figures.
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--kills", str(_KILLS)],
        cwd=CHECKOUT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["kills"] == _KILLS
    assert figures["lost"] == figures["applied_twice"] == figures["stale"] == figures["other"] == 0
