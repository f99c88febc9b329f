"""The README's commands, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.layout import CHECKOUT

if TYPE_CHECKING:
    from tests.e2e.conftest import Studio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = [re.sub(r"(?m)^ {3}", "", block) for block in re.findall(r"(?ms)^ *```bash\n(.*?)^ *```", README)]
# These start and test everything: `tests/launcher/` runs the one, and whoever reads this line runs the other.
WHOLE = ("make up", "make test")


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    for command in WHOLE:
        assert any(block.startswith(command) for block in BLOCKS)
        subprocess.run(["make", "--dry-run", *command.split()[1:]], cwd=CHECKOUT, check=True, capture_output=True)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.startswith(WHOLE)])
def test_a_block_of_commands_works(block: str, studio: Studio) -> None:
    """Only the ports differ, since the stories' installation does not take those of a running one."""
    ports = {"8000": "KAIZEN_PORT", "8101": "KAIZEN_GATEWAY_DEVELOPMENT_PORT"}
    for written, name in ports.items():
        block = block.replace(f":{written}", f":{studio.terminal.port(name)}")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=CHECKOUT,
        env={**os.environ, **studio.terminal.variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert '"error"' not in done.stdout
    assert '"type":"urn:kaizen:problem' not in done.stdout


def test_every_file_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (CHECKOUT / link).exists()] == []


def test_every_folder_that_it_names_exists() -> None:
    folders = re.findall(r"(?m)^\| `(.*?)` \|", README.partition("## Where things live")[2])
    named = [name for each in folders for name in re.findall(r"[a-z_]+/", each)]
    assert named
    assert [name for name in named if not Path(CHECKOUT / name).is_dir()] == []
