"""The commands behind the Makefile: `python3 -m launcher COMMAND`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from launcher import checks, commands, environments, requirements, services, testing
from launcher.children import Children, interruptible
from launcher.errors import Interrupted, LauncherError
from launcher.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code of the process."""
    parser = argparse.ArgumentParser(prog="python3 -m launcher", description=__doc__)
    parsers = parser.add_subparsers(dest="command", required=True)
    parsers.add_parser("services", help="run PostgreSQL and Redis for development; print their variables for a shell")
    test = parsers.add_parser("test", help="run all tests, with real services on ports of their own", add_help=False)
    test.add_argument("pytest_arguments", nargs=argparse.REMAINDER)
    bench = parsers.add_parser("bench", help="run benchmarks against real services")
    bench.add_argument("benchmarks", nargs="*")
    parsers.add_parser("check", help="run every static check")
    parsers.add_parser("requirements", help="compile the pinned requirements anew")
    parsers.add_parser("up", help="start everything, show the panel, stop it all on Ctrl-C")
    parsers.add_parser("down", help="stop everything")
    parsers.add_parser("reset", help="stop everything and delete the local state")
    parsers.add_parser("panel", help="print the panel as one line of JSON")
    manage = parsers.add_parser("manage", help="run manage.py against the installation", add_help=False)
    manage.add_argument("manage_arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        with interruptible() as interruption:
            children = Children(interruption)
            try:
                return _run(options, Progress(), children)
            finally:
                children.interruption.hold()
                children.terminate()
    except Interrupted as error:
        return 128 + error.signal_number
    except LauncherError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, progress: Progress, children: Children) -> int:
    match options.command:
        case "up":
            return commands.up(os.environ, progress=progress, children=children)
        case "down":
            return commands.down(os.environ, progress=progress)
        case "reset":
            return commands.reset(os.environ, progress=progress)
        case "panel":
            return commands.panel(os.environ)
        case "bench":
            return testing.bench(options.benchmarks, progress=progress, children=children)
        case "check":
            return checks.run(progress=progress, children=children)
        case "requirements":
            return requirements.compile_all(progress=progress, children=children)
        case "manage":
            return commands.manage(os.environ, options.manage_arguments)
        case "test":
            arguments = options.pytest_arguments
            return testing.run(arguments, progress=progress, children=children)
        case _:
            return _services(progress, children)


def _services(progress: Progress, children: Children) -> int:
    needed = (environments.STUDIO_WITH_TOOLS,)
    environments.install(needed, children=children, progress=progress)
    with services.running(os.environ, progress=progress, children=children) as variables:
        print(services.exports(variables), flush=True)
        progress.say("services", "running; Ctrl-C stops them and throws their data away")
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
