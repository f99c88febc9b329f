"""How long a person waits for `make up` when everything is installed: from nothing, the second time, and to stop.

The floor of a start is one import of Studio's settings and apps, which every process of Studio pays: `manage.py check`.

Prints `{"first_s", "second_s", "stop_s", "floor_s", "second_ratio"}`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from launcher.layout import CHECKOUT
from tests.harness.launcher import Launched, Terminal

_WITHIN_S = 300


def main() -> None:
    """Start twice, stop twice, and say how long each took."""
    parent = Path(tempfile.mkdtemp(prefix="kaizen-bench-"))
    # As on a person's machine: PostgreSQL's own account can reach the folder.
    parent.chmod(0o711)
    terminal = Terminal.at(parent / "state")
    try:
        floor = _floor()
        launched, first = _start(terminal)
        began = time.monotonic()
        launched.interrupt()
        stop = time.monotonic() - began
        launched, second = _start(terminal)
        launched.interrupt()
    finally:
        terminal.close()
        shutil.rmtree(parent)
    seconds = {"first_s": first, "second_s": second, "stop_s": stop, "floor_s": floor, "second_ratio": second / floor}
    print(json.dumps({name: round(value, 1) for name, value in seconds.items()}))


def _floor() -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=CHECKOUT, env=os.environ, check=True, capture_output=True
    )
    return time.monotonic() - began


def _start(terminal: Terminal) -> tuple[Launched, float]:
    began = time.monotonic()
    launched = terminal.start()
    launched.wait_for("running; Ctrl-C stops it", within=_WITHIN_S)
    return launched, time.monotonic() - began


if __name__ == "__main__":
    main()
