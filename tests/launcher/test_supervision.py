"""The supervisor keeps programs running, tells them exactly what they are to know, and ends them in bounded time."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher import lifecycle, processes
from launcher.children import Interruption
from launcher.errors import LauncherError, NotReady
from launcher.layout import StateFolder
from launcher.progress import Progress
from launcher.supervision import Program, Supervisor

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
SLEEPER = "import time; time.sleep(600)"


@pytest.fixture
def folder() -> Iterator[StateFolder]:
    folder = StateFolder(Path(tempfile.mkdtemp(prefix="kaizen-supervision-")))
    folder.create()
    yield folder
    Supervisor(folder).shutdown()
    shutil.rmtree(folder.path)


@pytest.fixture
def start(folder: StateFolder) -> Callable[..., Supervisor]:
    """Start programs under a supervisor of their own."""

    def start(*programs: Program) -> Supervisor:
        supervisor = Supervisor(folder)
        supervisor.start(programs, os.environ, Interruption())
        for program in programs:
            supervisor.launch(program)
        return supervisor

    return start


def python(name: str, code: str, **options: object) -> Program:
    return Program(name=name, command=(sys.executable, "-c", code), **options)  # type: ignore[arg-type]


def eventually(condition: Callable[[], object], *, within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_program_is_told_its_variables_literally_and_nobody_elses(
    start: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODY_ELSES", "secret")
    odd = """it's "quoted", 100%(x)s $HOME `id` \\ ; # and\nlonger"""
    seen = tmp_path / "seen"
    code = f"import os, time; open({str(seen)!r}, 'w').write(os.environ['ODD']); time.sleep(600)"

    supervisor = start(python("odd", code, environment={"ODD": odd}))
    eventually(lambda: seen.exists() and seen.read_text() == odd)

    pid = supervisor.state("odd").pid
    assert b"SOMEBODY_ELSES" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_program_that_died_is_started_again(start: Callable[..., Supervisor]) -> None:
    supervisor = start(python("sleeper", SLEEPER))
    eventually(lambda: supervisor.state("sleeper").state == "RUNNING")
    first = supervisor.state("sleeper").pid

    os.kill(first, signal.SIGKILL)

    eventually(lambda: supervisor.state("sleeper").pid not in {0, first})


def test_a_program_that_cannot_start_is_reported_with_its_last_words(start: Callable[..., Supervisor]) -> None:
    broken = python("broken", "raise SystemExit('the flux capacitor is missing')", ready=never)
    supervisor = start(broken)

    with pytest.raises(LauncherError, match=r"(?s)broken did not start.*the flux capacitor is missing"):
        supervisor.wait_ready(broken)


def test_one_that_ignores_its_stop_signal_is_killed(start: Callable[..., Supervisor], folder: StateFolder) -> None:
    supervisor = start(python("stubborn", STUBBORN, stop_seconds=1))
    eventually(lambda: "up" in supervisor.log("stubborn").read_text())

    began = time.monotonic()
    supervisor.stop(["stubborn"], within=10)

    assert supervisor.state("stubborn").is_stopped
    assert time.monotonic() - began < 5


def test_what_a_killed_supervisor_left_is_found_and_ended(
    start: Callable[..., Supervisor], folder: StateFolder
) -> None:
    supervisor = start(python("stubborn", STUBBORN), python("sleeper", SLEEPER))
    eventually(lambda: supervisor.state("sleeper").state == "RUNNING")
    orphans = [state.pid for state in supervisor.states()]
    (supervising,) = set(processes.marked(folder)) - set(orphans)

    os.kill(supervising, signal.SIGKILL)
    eventually(lambda: not supervisor.is_running)
    assert lifecycle.stop(folder, Progress(quiet=True)) is True

    assert not [pid for pid in orphans if processes.is_alive(pid)]
    assert lifecycle.stop(folder, Progress(quiet=True)) is False


def test_a_state_folder_too_deep_for_a_socket_works(start: Callable[..., Supervisor], folder: StateFolder) -> None:
    deep = StateFolder(folder.path / ("d" * 60) / ("e" * 60))
    deep.create()
    supervisor = Supervisor(deep)

    supervisor.start([python("sleeper", SLEEPER)], os.environ, Interruption())

    assert supervisor.states()[0].name == "sleeper"
    supervisor.shutdown()
    shutil.rmtree(deep.socket.parent)


def never() -> None:
    raise NotReady("it never is")
