"""Ctrl-C while things are starting leaves no process behind, whatever was going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from launcher.layout import CHECKOUT
from tests.harness.launcher import Terminal


@pytest.mark.parametrize("moment", ["starting", "valkey", "migrating and seeding"])
def test_ctrl_c_during_the_start_stops_what_was_started(terminal: Terminal, moment: str) -> None:
    launched = terminal.start()
    if moment != "starting":
        launched.wait_for(moment, within=60)

    code = launched.interrupt()

    # Until the launcher's first line runs, Python answers as it likes: by the signal, or by 1 while it starts up.
    assert code in {130, -signal.SIGINT} or (moment == "starting" and code == 1)
    assert terminal.left_behind() == []
    assert "Traceback" not in launched.text or "launcher" not in launched.text


def test_a_closed_terminal_stops_everything_too(terminal: Terminal) -> None:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "launcher", "up"],
        cwd=CHECKOUT,
        env=terminal.variables,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        start_new_session=True,
    )
    os.close(writer)
    assert os.read(reader, 1)
    os.close(reader)
    deadline = time.monotonic() + 30
    while not any("manage.py prepare" in line for line in terminal.left_behind()):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    process.send_signal(signal.SIGHUP)
    process.wait(timeout=60)

    assert terminal.left_behind() == []


def test_an_interrupted_first_start_does_not_spoil_the_next(terminal: Terminal) -> None:
    first = terminal.start()
    first.wait_for("valkey", within=60)
    first.interrupt()

    second = terminal.start()
    second.wait_for("postgresql             ready", within=60)
    second.interrupt()

    assert terminal.left_behind() == []
