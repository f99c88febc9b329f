"""`make test`: everything the tests need, then pytest, then nothing left behind."""

import os
import subprocess
from collections.abc import Sequence

from launcher import chromium, environments, services
from launcher.children import Children
from launcher.errors import LauncherError
from launcher.layout import CHECKOUT, ENVIRONMENTS, STUDIO_PYTHON
from launcher.progress import Progress

_PYTEST_LEAVE_SECONDS = 20.0


def run(arguments: Sequence[str], *, progress: Progress, children: Children) -> int:
    """Run pytest with real services on free ports; returns its exit code."""
    needed = (environments.STUDIO_WITH_TOOLS, environments.GATEWAY, environments.MODEL)
    environments.install(needed, children=children, progress=progress)
    _provide_browser(children, progress)
    with services.running(os.environ, progress=progress, children=children) as variables:
        return _pytest(arguments, variables)


def _provide_browser(children: Children, progress: Progress) -> None:
    if chromium.find(os.environ):
        return
    if not chromium.may_install():
        progress.say("chromium", "none found, and it cannot be installed here: browser stories will be left out")
        return
    try:
        chromium.install(children, progress, ENVIRONMENTS / "install-chromium.log")
    except LauncherError as error:
        progress.say("chromium", f"not installed, so browser stories will be left out: {error}")


def _pytest(arguments: Sequence[str], variables: dict[str, str]) -> int:
    """Run pytest in the foreground: Ctrl-C reaches it directly, so that it can report what it ran."""
    child = subprocess.Popen([STUDIO_PYTHON, "-m", "pytest", *arguments], cwd=CHECKOUT, env={**os.environ, **variables})
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=_PYTEST_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
