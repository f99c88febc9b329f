"""What stands in the way is said before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.harness.launcher import Terminal


def test_every_busy_port_is_named_with_the_variable_that_moves_it(terminal: Terminal) -> None:
    with (
        socket.create_server(("127.0.0.1", terminal.port("KAIZEN_PORT"))),
        socket.create_server(("127.0.0.1", terminal.port("KAIZEN_GATEWAY_PRODUCTION_PORT"))),
    ):
        done = terminal.run("up")

    assert done.returncode == 1
    assert f"dashboard: port {terminal.port('KAIZEN_PORT')} is in use; set KAIZEN_PORT" in done.stderr
    assert "gateway production" in done.stderr
    assert "set KAIZEN_GATEWAY_PRODUCTION_PORT" in done.stderr
    assert "KAIZEN_DATABASE_PORT" not in done.stderr
    assert "Traceback" not in done.stderr
    assert not terminal.left_behind()
    assert not (terminal.folder.path / "postgresql").exists()


@pytest.mark.parametrize("value", ["eighty", "0", "70000", "-1", "8000.0", "\N{FULLWIDTH DIGIT EIGHT}000"])
def test_a_port_that_is_none_is_refused(terminal: Terminal, value: str) -> None:
    done = terminal.run("up", KAIZEN_PORT=value)

    assert done.returncode == 1
    assert "KAIZEN_PORT must be a port number" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_services_on_one_port_are_refused(terminal: Terminal) -> None:
    done = terminal.run("up", KAIZEN_REDIS_PORT="18123", KAIZEN_MODEL_PORT="18123")

    assert done.returncode == 1
    assert "KAIZEN_REDIS_PORT and KAIZEN_MODEL_PORT are both 18123" in done.stderr


@pytest.mark.parametrize(
    ("given", "missing"), [("DATABASE_URL", "DATABASE_OWNER_URL"), ("DATABASE_OWNER_URL", "DATABASE_URL")]
)
def test_half_a_database_is_refused(terminal: Terminal, given: str, missing: str) -> None:
    done = terminal.run("up", **{given: "postgresql://someone:hidden@127.0.0.1:1/x"})

    assert done.returncode == 1
    assert f"{given} is set, but {missing} is not" in done.stderr
    assert "hidden" not in done.stderr


def test_a_given_service_that_does_not_answer_is_named(terminal: Terminal) -> None:
    done = terminal.run("up", REDIS_URL="redis://:hidden@127.0.0.1:1/0")

    assert done.returncode == 1
    assert "REDIS_URL is set, but nothing usable answers there" in done.stderr
    assert "hidden" not in done.stderr


def test_a_folder_with_other_things_does_not_become_the_state_folder(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")

    up = terminal.run("up", KAIZEN_STATE_DIR=str(tmp_path))
    terminal.run("reset", KAIZEN_STATE_DIR=str(tmp_path), CONFIRM="yes")

    assert up.returncode == 1
    assert "holds other things" in up.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_before_the_first_start_the_panel_says_what_is_known(terminal: Terminal) -> None:
    panel = terminal.panel()

    assert panel["ready"] is False
    assert panel["dashboard"] == f"http://acme.localhost:{terminal.port('KAIZEN_PORT')}/"
    assert panel["users"] == []
    assert panel["curl"] is None
    assert not terminal.folder.path.exists()


def test_down_without_anything_running_says_so(terminal: Terminal) -> None:
    done = terminal.run("down")

    assert done.returncode == 0
    assert "is not running" in done.stderr


def test_damaged_secrets_are_reported_and_reset_gets_rid_of_them(terminal: Terminal) -> None:
    terminal.folder.create()
    terminal.folder.secrets.write_text("{")

    up = terminal.run("up")
    reset = terminal.run("reset", CONFIRM="yes")

    assert up.returncode == 1
    assert "environment.json is damaged" in up.stderr
    assert reset.returncode == 0
    assert not terminal.folder.path.exists()


def test_reset_asks(terminal: Terminal) -> None:
    terminal.folder.create()
    terminal.folder.secrets.write_text("{}")

    done = terminal.run("reset")

    assert done.returncode == 1
    assert "Nothing was deleted" in done.stderr
    assert terminal.folder.secrets.exists()
    terminal.folder.secrets.unlink()
