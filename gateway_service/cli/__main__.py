"""Call a gateway from the command line.

    python -m gateway_service.cli list
    python -m gateway_service.cli run greeter-production --param message="Hello"

The key comes from GATEWAY_KEY or from a file, never from an argument, where other users of the machine would see it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gateway_service.cli import commands
from gateway_service.cli.client import Client
from gateway_service.cli.completion import candidates
from gateway_service.cli.errors import CliError, Exit
from gateway_service.cli.parser import COMPLETE, parse
from gateway_service.cli.scripts import script

_COMPLETION_TIMEOUT_S = 2.0


def main(arguments: list[str]) -> int:
    """Run one command; returns the process's exit status."""
    if arguments[:1] == [COMPLETE]:
        return _complete(arguments[1:])
    options = parse(arguments)
    try:
        if options.command == "completion":
            print(script(options.argument))
        else:
            commands.COMMANDS[options.command](Client(options.url, _key(options.key_file)), options)
        sys.stdout.flush()
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough. Without this, the interpreter complains once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Exit.DONE


def _key(file: str | None) -> str:
    """The caller's key: of the file that was named, or of GATEWAY_KEY.

    Raises:
        CliError: there is none.
    """
    if file is None:
        key = os.environ.get("GATEWAY_KEY", "").strip()
        if not key:
            raise CliError("GATEWAY_KEY is not set; it holds your gateway key (kzk_…)", Exit.KEY)
    else:
        try:
            key = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"the key cannot be read from {file}: {error}", Exit.KEY) from None
    if not key.isascii() or not key.isprintable() or not key:
        raise CliError("what was given as a key is none; a gateway key begins with kzk_", Exit.KEY)
    return key


def _complete(words: list[str]) -> int:
    """Print what the last word may become. Where that cannot be known it is silent: nobody has asked for an error."""

    def connect(url: str | None, key_file: str | None) -> Client:
        defaults = parse(["list"])
        return Client(url or defaults.url, _key(key_file or defaults.key_file), _COMPLETION_TIMEOUT_S)

    for candidate in candidates(words, connect):
        print(candidate)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
