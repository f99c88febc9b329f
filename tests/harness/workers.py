"""Services of its own for each of the processes that share a run of all tests. A plugin of pytest.

`launcher/testing.py` starts the services and loads this before Django reads its settings.
"""

from __future__ import annotations

import json
import os


def _take_own_services() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        os.environ.update(json.loads(os.environ["KAIZEN_TEST_WORKERS"])[int(worker.removeprefix("gw"))])


_take_own_services()
