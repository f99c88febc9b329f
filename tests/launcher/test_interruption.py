"""Ctrl-C while things are starting leaves no process behind, whatever was going on."""

from __future__ import annotations

import signal

import pytest

from tests.harness.launcher import Terminal


@pytest.mark.parametrize("moment", ["starting", "valkey", "migrating and seeding"])
def test_ctrl_c_during_the_start_stops_what_was_started(terminal: Terminal, moment: str) -> None:
    launched = terminal.start()
    if moment != "starting":
        launched.wait_for(moment, within=60)

    code = launched.interrupt()

    # Before Python has installed its handlers, the signal itself ends it.
    assert code in {130, -signal.SIGINT}
    assert terminal.left_behind() == []
    assert "Traceback" not in launched.text


def test_an_interrupted_first_start_does_not_spoil_the_next(terminal: Terminal) -> None:
    first = terminal.start()
    first.wait_for("valkey", within=60)
    first.interrupt()

    second = terminal.start()
    second.wait_for("postgresql             ready", within=60)
    second.interrupt()

    assert terminal.left_behind() == []
