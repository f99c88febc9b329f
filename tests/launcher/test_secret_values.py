"""Secrets are made once, kept private, and never replaced in silence."""

import stat
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.layout import StateFolder
from launcher.secret_values import SecretValues


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


def test_a_second_start_finds_the_secrets_of_the_first(folder: StateFolder) -> None:
    assert SecretValues.of(folder) == SecretValues.of(folder)
    assert stat.S_IMODE(folder.secrets.stat().st_mode) == 0o600


def test_a_damaged_file_is_reported_and_kept(folder: StateFolder) -> None:
    folder.secrets.write_text('{"installation": "a"')

    with pytest.raises(LauncherError, match=r"environment\.json is damaged"):
        SecretValues.of(folder)

    assert folder.secrets.read_text() == '{"installation": "a"'


def test_no_secret_shows_in_a_representation(folder: StateFolder) -> None:
    values = SecretValues.of(folder)

    assert values.secret_key not in repr(values)
    assert values.database_owner_password not in repr(values)
