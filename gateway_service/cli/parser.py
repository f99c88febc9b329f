"""The commands and their options, declared once: for parsing, for help, and for completion."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway_service.cli.client import DEFAULT_URL

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "kaizen-gateway"
"""What the completion scripts call the command."""

COMPLETE = "__complete"
"""The command that those scripts ask; people have no use for it."""

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        value: what its value is called; empty for a switch.
        repeated: whether it may stand several times.
    """

    flag: str
    meaning: str
    value: str = ""
    repeated: bool = False


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        argument: what its one argument is called; empty if it has none.
        choices: what the argument can be, where that is known beforehand.
    """

    name: str
    meaning: str
    argument: str = ""
    choices: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()


URL = Option("--url", "address of the gateway (default: GATEWAY_URL, or http://127.0.0.1:8100)", "URL")
KEY_FILE = Option(
    "--key-file", "file that holds your key (default: GATEWAY_KEY_FILE; else GATEWAY_KEY is used)", "FILE"
)
PARAM = Option("--param", "an input; may be repeated", "NAME=VALUE", repeated=True)
INPUTS = Option("--inputs", "file with the inputs as a JSON object; - reads them from standard input", "FILE")
SESSION = Option("--session", "a session id, for agents that remember", "ID")
_JSON = Option("--json", "print JSON, for programs")
_EVENTS = Option("--json", "print each event as a line of JSON, for programs")

GLOBAL = (URL, KEY_FILE)
NAME = "NAME"
COMMANDS = (
    Command("list", "what your key may call", options=(_JSON,)),
    Command("describe", "what a registration takes and answers", NAME, options=(_JSON,)),
    Command("run", "call a registration", NAME, options=(PARAM, INPUTS, SESSION, _JSON)),
    Command("stream", "call a registration, and read along while it speaks", NAME,
            options=(PARAM, INPUTS, SESSION, _EVENTS)),
    Command("completion", f"a script that teaches your shell the command {PROGRAM}", "SHELL", SHELLS),
)  # fmt: skip


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line; ends the process with status 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway_service.cli", description="Call agents and workflows on a gateway."
    )
    defaults = {URL: os.environ.get("GATEWAY_URL") or DEFAULT_URL, KEY_FILE: os.environ.get("GATEWAY_KEY_FILE")}
    for option in GLOBAL:
        _add(parser, option, default=defaults[option])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        each = commands.add_parser(command.name, help=command.meaning, description=command.meaning)
        if command.argument:
            each.add_argument("argument", metavar=command.argument, choices=command.choices or None)
        for option in command.options:
            _add(each, option)
    return parser.parse_args(arguments)


def _add(parser: argparse.ArgumentParser, option: Option, default: str | None = None) -> None:
    settings: dict[str, Any] = {"help": option.meaning.replace("%", "%%")}
    if not option.value:
        settings["action"] = "store_true"
    elif option.repeated:
        settings |= {"metavar": option.value, "action": "append", "default": []}
    else:
        settings |= {"metavar": option.value, "default": default}
    parser.add_argument(option.flag, **settings)
