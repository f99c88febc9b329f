"""Each story gets a terminal of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.launcher import Terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A shell on an empty state folder; whatever it leaves is stopped and deleted."""
    parent = Path(tempfile.mkdtemp(prefix="kaizen-launcher-"))
    # As on a person's machine: PostgreSQL's own account can reach the folder.
    parent.chmod(0o711)
    terminal = Terminal.at(parent / "state")
    yield terminal
    terminal.close()
    shutil.rmtree(parent)
