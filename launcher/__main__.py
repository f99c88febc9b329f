"""The commands behind the Makefile: `python3 -m launcher COMMAND`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from launcher import environments, services, testing
from launcher.children import Children, Interruption, interruptible
from launcher.errors import Interrupted, LauncherError
from launcher.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process."""
    parser = argparse.ArgumentParser(prog="python3 -m launcher", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("services", help="run PostgreSQL and Redis for development; print their variables for a shell")
    test = commands.add_parser("test", help="run all tests, with real services on ports of their own", add_help=False)
    test.add_argument("pytest_arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    progress, children = Progress(), Children()
    try:
        with interruptible() as interruption:
            return _run(options, progress, children, interruption)
    except Interrupted as error:
        children.terminate()
        return 128 + error.signal_number
    except LauncherError as error:
        children.terminate()
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, progress: Progress, children: Children, interruption: Interruption) -> int:
    if options.command == "test":
        return testing.run(options.pytest_arguments, progress=progress, children=children, interruption=interruption)
    return _services(progress, children, interruption)


def _services(progress: Progress, children: Children, interruption: Interruption) -> int:
    needed = (environments.STUDIO_WITH_TOOLS,)
    environments.install(needed, children=children, progress=progress)
    with services.running(os.environ, progress=progress, children=children, interruption=interruption) as variables:
        print(services.exports(variables), flush=True)
        progress.say("services", "running; Ctrl-C stops them and throws their data away")
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
