"""What the product imports is what `make up` installs: a test tool that happens to be there must not hide a gap."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from launcher.layout import CHECKOUT

OUR_OWN = {"apps", "contract", "gateway_service", "kaizen_site", "launcher"}
STUDIO = ("apps", "contract", "kaizen_site")


def _imported_modules(folder: str) -> set[str]:
    """Top-level names of what the Python files below a folder import."""
    names = set()
    for path in (CHECKOUT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - OUR_OWN - set(sys.stdlib_module_names)


def _pinned(requirements: Path) -> set[str]:
    """Normalized names of the distributions in a compiled requirements file (PEP 503)."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", requirements.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def test_studio_imports_nothing_that_make_up_does_not_install() -> None:
    pinned = _pinned(CHECKOUT / "requirements.txt")
    providers = packages_distributions()
    missing = {
        name: providers.get(name, [])
        for folder in STUDIO
        for name in _imported_modules(folder)
        if not {re.sub(r"[-_.]+", "-", provider).lower() for provider in providers.get(name, [])} & pinned
    }

    assert not missing


def test_every_requirement_is_pinned_and_hashed_and_names_no_host() -> None:
    for name in (
        "requirements.txt",
        "requirements-dev.txt",
        "gateway_service/requirements.txt",
        "tests/gateway_service/mcp_client_2_requirements.txt",
    ):
        text = (CHECKOUT / name).read_text()
        blocks = re.split(r"\n(?=\S)", text.strip())

        assert len(blocks) > 10
        assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []
        assert "://" not in text


def test_the_tools_environment_runs_studio_with_the_same_versions() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (CHECKOUT / name).read_text(), flags=re.MULTILINE))

    assert versions("requirements.txt") <= versions("requirements-dev.txt")
