"""`make up`, for real: one installation that is started, used, damaged, stopped and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import processes
from tests.harness.launcher import Launched, Terminal

pytestmark = pytest.mark.timeout(400)

FIRST_START_SECONDS = 240
SECOND_START_SECONDS = 60  # promised on an idle machine: 20


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    """One shell for all stories of this file: a start costs seconds."""
    parent = Path(tempfile.mkdtemp(prefix="kaizen-launcher-"))
    parent.chmod(0o711)
    terminal = Terminal.at(parent / "state")
    yield terminal
    terminal.close()
    shutil.rmtree(parent)


@pytest.fixture(scope="module")
def up(terminal: Terminal) -> Launched:
    """A first start, waited for."""
    launched = terminal.start()
    launched.wait_for("running; Ctrl-C stops it", within=FIRST_START_SECONDS)
    return launched


def _call(command: str) -> dict[str, object]:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def _process_ids(terminal: Terminal, word: str) -> list[int]:
    return [pid for pid in processes.marked(terminal.folder) if word in _command_line(pid)]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_the_panel_lets_a_stranger_in_and_its_curl_gets_an_answer(terminal: Terminal, up: Launched) -> None:
    panel = terminal.panel()

    assert panel["ready"] is True
    assert [user["role"] for user in panel["users"]] == ["owner", "builder", "approver"]
    assert all(user["email"] and len(user["password"]) >= 12 for user in panel["users"])
    assert panel["api_token"]
    assert panel["gateway_key"] in panel["curl"]
    assert panel["curl"] in up.text
    text = _call(panel["curl"])["outputs"]["text"]  # type: ignore[index]
    assert text.strip()


def test_a_second_up_says_that_it_runs_and_shows_the_panel(terminal: Terminal, up: Launched) -> None:
    done = terminal.run("up")

    assert done.returncode == 0
    assert f"process {up.process.pid} runs it" in done.stderr
    assert terminal.panel()["gateway_key"] in done.stdout


def test_secrets_are_in_private_files_and_on_no_command_line(terminal: Terminal, up: Launched) -> None:
    generated = json.loads(terminal.folder.secrets.read_text())
    seeded = json.loads(terminal.folder.panel.read_text())
    secret = {value for name, value in generated.items() if name != "installation"}
    secret |= {seeded["api_token"], seeded["gateway_key"], *(user["password"] for user in seeded["users"])}

    lines = " ".join(_command_line(pid) for pid in processes.marked(terminal.folder))
    logs = " ".join(path.read_text(errors="replace") for path in terminal.folder.logs.iterdir())

    assert lines
    assert not [value for value in secret if value in lines or value in logs]
    for path in (terminal.folder.secrets, terminal.folder.panel, *terminal.folder.run.glob("*.sh")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_gateway_is_told_nothing_of_studio(terminal: Terminal, up: Launched) -> None:
    (pid,) = _process_ids(terminal, "-m gateway_service")[:1]
    names = {entry.partition(b"=")[0].decode() for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}

    assert "GATEWAY_TRUSTED_KEY" in names
    assert not names & {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SECRET_KEY", "KAIZEN_ENCRYPTION_KEYS"}


def test_only_the_worker_may_change_the_database_schema(terminal: Terminal, up: Launched) -> None:
    def variables(word: str) -> bytes:
        return Path(f"/proc/{_process_ids(terminal, word)[0]}/environ").read_bytes()

    assert b"DATABASE_OWNER_URL=" in variables("celery")
    assert b"DATABASE_OWNER_URL=" not in variables("daphne")
    assert b"DATABASE_OWNER_URL=" not in variables("manage.py scan")


def test_a_killed_gateway_is_started_again(terminal: Terminal, up: Launched) -> None:
    curl = terminal.panel()["curl"]
    for pid in _process_ids(terminal, "-m gateway_service"):
        os.kill(pid, signal.SIGKILL)

    up.wait_for("the supervisor starts it again", within=20)

    deadline = time.monotonic() + 60
    while not terminal.panel()["ready"]:
        assert time.monotonic() < deadline
    assert _call(curl)["outputs"]


def test_ctrl_c_stops_everything_and_a_second_start_keeps_everything(terminal: Terminal, up: Launched) -> None:
    before = terminal.panel()

    assert up.interrupt() == 0
    assert terminal.left_behind() == []
    stopped = terminal.panel()
    assert stopped == {**before, "ready": False}

    again = terminal.start()
    again.wait_for("running; Ctrl-C stops it", within=SECOND_START_SECONDS)
    assert terminal.panel() == before
    assert _call(before["curl"])["outputs"]


def test_everything_it_runs_carries_its_marker(terminal: Terminal, up: Launched) -> None:
    """Otherwise what a killed supervisor left is never found."""
    commands = terminal.left_behind()
    programs = ["supervisord", "postgres", "valkey-server", "gateway_service", "model", "celery", "daphne", "scan"]
    assert [name for name in programs if not any(name in command for command in commands)] == []


def test_down_stops_what_a_killed_launcher_left(terminal: Terminal, up: Launched) -> None:
    launcher = terminal.running[-1]
    launcher.kill()
    assert terminal.left_behind(), "the supervisor goes on without its launcher"
    assert terminal.panel()["ready"] is True

    done = terminal.run("down")

    assert done.returncode == 0
    assert terminal.left_behind() == []
    assert terminal.panel()["ready"] is False
