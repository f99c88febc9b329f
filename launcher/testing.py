"""`make test`: everything the tests need, then pytest, then nothing left behind."""

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from launcher import chromium, environments, services
from launcher.children import Children
from launcher.errors import LauncherError
from launcher.layout import CHECKOUT, ENVIRONMENTS, STUDIO_PYTHON
from launcher.progress import Progress

_LEAVE_SECONDS = 20.0
# Most of a test is waiting, for gateways and for clocks; beyond this, services of their own cost more than they save.
_MOST_WORKERS = 4
# Each worker takes files as they come, in the order in which they stand, and finds services of its own.
_IN_WORKERS = ("--dist=loadfile", "--no-loadscope-reorder", "-p", "tests.harness.workers")


def run(arguments: Sequence[str], *, progress: Progress, children: Children) -> int:
    """Run pytest with real services on free ports; returns its exit code.

    Everything is run by several workers, each with services of its own; a selection by one process.
    """
    needed = (environments.STUDIO_WITH_TOOLS, environments.GATEWAY, environments.MODEL, environments.MCP_CLIENT_2)
    environments.install(needed, children=children, progress=progress)
    _provide_browser(children, progress)
    workers = 1 if arguments or services.any_given(os.environ) else min(os.cpu_count() or 1, _MOST_WORKERS)
    with ExitStack() as stack:
        started = [
            stack.enter_context(services.running(os.environ, progress=progress, children=children))
            for _ in range(workers)
        ]
        if workers == 1:
            return _run_python(["-m", "pytest", *arguments], started[0])
        variables = {**started[0], "KAIZEN_TEST_WORKERS": json.dumps(started)}
        return _run_python(["-m", "pytest", f"--numprocesses={workers}", *_IN_WORKERS], variables)


def bench(names: Sequence[str], *, progress: Progress, children: Children) -> int:
    """Run benchmarks, all or the named ones, each as `python -m benchmarks.NAME`; returns 1 if any failed.

    Raises:
        LauncherError: there is no benchmark of that name.
    """
    found = sorted(path.stem for path in (CHECKOUT / "benchmarks").glob("[!_]*.py"))
    if unknown := [name for name in names if name not in found]:
        raise LauncherError(
            f"No benchmark is called {', '.join(unknown)}. There are: {', '.join(found) or 'none yet'}."
        )
    needed = (environments.STUDIO_WITH_TOOLS, environments.GATEWAY, environments.MODEL)
    environments.install(needed, children=children, progress=progress)
    with services.running(os.environ, progress=progress, children=children, durable=True) as variables:
        codes = [_run_python(["-m", f"benchmarks.{name}"], variables) for name in names or found]
    return int(any(codes))


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


def _run_python(arguments: Sequence[str], variables: dict[str, str]) -> int:
    """Run Studio's Python in the foreground: Ctrl-C reaches it directly, so that pytest can report what it ran."""
    child = subprocess.Popen([STUDIO_PYTHON, *arguments], cwd=CHECKOUT, env={**os.environ, **variables})
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
