"""What an operator writes about models and tools: what is wrong with it is named before anything starts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.gateway import PYTHON, ROOT, GatewayProcess


@pytest.fixture
def refused(fresh_gateway: Callable[..., GatewayProcess]) -> Callable[..., str]:
    """Start a gateway with wrong variables: what it says."""

    def start(**variables: str) -> str:
        gateway = fresh_gateway(**variables)
        ran = subprocess.run(
            [str(PYTHON), "-m", "gateway_service"],
            cwd=ROOT, env=gateway.environment(), capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert ran.returncode == 78
        assert "Traceback" not in ran.stderr
        return ran.stderr

    return start


PROBLEMS: list[tuple[str, str]] = [
    ("retries = 6", "profiles.first.retries must be a whole number from 0 to 5"),
    ('retries = "2"', "profiles.first.retries must be a whole number from 0 to 5"),
    ("retries = true", "profiles.first.retries must be a whole number from 0 to 5"),
    ('fallbacks = "second"', "profiles.first.fallbacks must be a list"),
    ('fallbacks = ["nobody"]', "profiles.first.fallbacks names 'nobody', which is no profile of this gateway"),
    ('fallbacks = ["first"]', "profiles.first.fallbacks names 'first', which is the profile itself"),
]


@pytest.mark.parametrize(("line", "named"), PROBLEMS)
def test_a_wrong_profile_is_named(refused: Callable[..., str], tmp_path: Path, line: str, named: str) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[profiles.first]\nbase_url = "http://x"\nmodel = "m"\n{line}\n')
    assert named in refused(GATEWAY_MODEL_PROFILES=str(profiles))


SECRET_PROBLEMS: list[tuple[str, str]] = [
    ('[secrets.crm]\nvalue = "x"', "secrets.crm lacks 'hosts'"),
    ('[secrets.crm]\nhosts = ["a.example"]', "secrets.crm needs one of 'value' and 'value_env'"),
    ('[secrets.crm]\nhosts = ["a.example"]\nvalue_env = "NOT_SET"', "takes its value from NOT_SET, which is not set"),
    ('[secrets.crm]\nhosts = ["a b"]\nvalue = "x"', "'a b' is no host name"),
    ('[secrets.crm]\nhosts = ["a"]\nvalue = "x\\ny"', "cannot stand in a header"),
    ('[secrets.CRM]\nhosts = ["a"]\nvalue = "x"', "secrets.CRM has a name"),
    ('[secrets.crm]\nhosts = ["a"]\nvalue = "x"\nhost = "a"', "unknown member 'host'"),
    ("x = 1", "has no [secrets.<name>] table"),
]


@pytest.mark.parametrize(("text", "named"), SECRET_PROBLEMS)
def test_a_wrong_file_of_secrets_is_named(refused: Callable[..., str], tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    said = refused(GATEWAY_TOOL_SECRETS=str(path))
    assert named in said


VARIABLES: list[tuple[dict[str, str], str]] = [
    ({"GATEWAY_TOOL_HOSTS": "a.example, http://b"}, "GATEWAY_TOOL_HOSTS cannot be used: 'http://b'"),
    ({"GATEWAY_TOOL_HOSTS": "a.example:99999"}, "has no port from 1 to 65535"),
    ({"GATEWAY_TOOL_HOSTS": "127.1"}, "'127.1' is no host name"),
    ({"GATEWAY_TOOL_NETWORKS": "10.0.0.1/8"}, "GATEWAY_TOOL_NETWORKS cannot be used: 10.0.0.1/8 has host bits set"),
    ({"GATEWAY_TOOL_SECRETS": "/nothing.toml"}, "GATEWAY_TOOL_SECRETS names a file that cannot be read"),
]


@pytest.mark.parametrize(("variables", "named"), VARIABLES)
def test_a_wrong_rule_for_tools_is_named(refused: Callable[..., str], variables: dict[str, str], named: str) -> None:
    assert named in refused(**variables)
