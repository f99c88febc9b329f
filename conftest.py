"""Browser stories run where a browser is found; elsewhere the summary says which were left out and how to run them."""

import os
from typing import Any

import pytest

from launcher import chromium

_LEFT_OUT = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `browser` if there is none. A browser that is named but broken is an error, not this."""
    left_out = [item for item in items if item.get_closest_marker("browser")]
    if not left_out or chromium.find(os.environ):
        return
    config.stash[_LEFT_OUT] = [item.nodeid for item in left_out]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell whoever writes the summary, if this is one of several workers."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(_LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker left out; each of them collected everything."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the stories that were left out."""
    left_out = terminalreporter.config.stash.get(_LEFT_OUT, [])
    if not left_out:
        return
    terminalreporter.section("browser stories left out: no Chromium found")
    for nodeid in left_out:
        terminalreporter.line(f"  {nodeid}")
    terminalreporter.line(
        'Install Chromium, or name one with KAIZEN_CHROMIUM=/path, then run: make test T="-m browser"'
    )
