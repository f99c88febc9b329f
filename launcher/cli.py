"""The command line: `python3 -m launcher COMMAND [ARGUMENTS]`."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher import checks, commands, requirements, services, testing
from launcher.children import Children, interruptible
from launcher.errors import Interrupted, LauncherError
from launcher.progress import Progress


@dataclass(frozen=True)
class Invocation:
    """What a command is given: the rest of the command line, and the means to report and to run things."""

    arguments: Sequence[str]
    progress: Progress
    children: Children


@dataclass(frozen=True)
class Command:
    """One command. Arguments, if it takes any, are passed on as they are."""

    name: str
    summary: str
    run: Callable[[Invocation], int]
    takes_arguments: bool = False


_COMMANDS = (
    Command(
        "up",
        "start everything, show the panel, stop it all on Ctrl-C",
        lambda it: commands.up(os.environ, progress=it.progress, children=it.children),
    ),
    Command("down", "stop everything, whoever started it", lambda it: commands.down(os.environ, progress=it.progress)),
    Command(
        "reset",
        "stop everything and delete the local state",
        lambda it: commands.reset(os.environ, progress=it.progress),
    ),
    Command("panel", "print the panel as one line of JSON", lambda _: commands.panel(os.environ)),
    Command(
        "manage",
        "run manage.py against the installation",
        lambda it: commands.manage(os.environ, it.arguments),
        takes_arguments=True,
    ),
    Command(
        "test",
        "run pytest with real services on ports of their own",
        lambda it: testing.run(it.arguments, progress=it.progress, children=it.children),
        takes_arguments=True,
    ),
    Command(
        "bench",
        "run benchmarks, all or the named ones",
        lambda it: testing.bench(it.arguments, progress=it.progress, children=it.children),
        takes_arguments=True,
    ),
    Command("check", "run every static check", lambda it: checks.run(progress=it.progress, children=it.children)),
    Command(
        "services",
        "run PostgreSQL and Valkey for development; print their variables for a shell",
        lambda it: services.serve(os.environ, progress=it.progress, children=it.children),
    ),
    Command(
        "requirements",
        "compile the pinned requirements anew",
        lambda it: requirements.compile_all(progress=it.progress, children=it.children),
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code of the process."""
    name, *rest = arguments or ["--help"]
    command = next((each for each in _COMMANDS if each.name == name), None)
    if command is None or (rest and not command.takes_arguments):
        print(_usage(), file=sys.stderr)
        return 0 if name in {"--help", "-h"} else 2
    try:
        with interruptible() as interruption:
            return _run(command, Invocation(rest, Progress(), Children(interruption)))
    except Interrupted as error:
        return 128 + error.signal_number
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run(command: Command, invocation: Invocation) -> int:
    try:
        return command.run(invocation)
    finally:
        invocation.children.interruption.hold()
        invocation.children.terminate()


def _usage() -> str:
    lines = [f"  {command.name:<13} {command.summary}" for command in _COMMANDS]
    return "\n".join(["python3 -m launcher COMMAND [ARGUMENTS]", "", *lines])
