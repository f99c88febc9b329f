"""What the word at the cursor may become, for every shell: the scripts in `scripts` only ask this."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway_service.cli.errors import CliError
from gateway_service.cli.parser import COMMANDS, GLOBAL, NAME, PARAM, Command, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway_service.cli.client import Client

    Connect = Callable[[str | None, str | None], Client]


@dataclass
class _Line:
    """What was typed before the cursor.

    Attributes:
        awaited: the option whose value stands at the cursor.
        values: the values of options, by flag.
    """

    command: Command | None = None
    argument: str | None = None
    awaited: Option | None = None
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Iterable[str]) -> _Line:
        """Read the words before the one at the cursor."""
        line = cls()
        for word in words:
            line._take(word)
        return line

    @property
    def options(self) -> tuple[Option, ...]:
        """Those that may stand here."""
        return GLOBAL if self.command is None else self.command.options

    def _take(self, word: str) -> None:
        if self.awaited is not None:
            self.values[self.awaited.flag] = word
            self.awaited = None
        elif word.startswith("-"):
            flag, equals, value = word.partition("=")
            option = next((each for each in self.options if each.flag == flag), None)
            if equals:
                self.values[flag] = value
            elif option is not None and option.value:
                self.awaited = option
        elif self.command is None:
            self.command = next((each for each in COMMANDS if each.name == word), None)
        else:
            self.argument = word


def candidates(words: Sequence[str], connect: Connect) -> list[str]:
    """What the last of the words may become; empty where files are meant, or nothing is known.

    Args:
        words: those after the command's own name; the last one is at the cursor, and may be empty.
        connect: the client for an address and a file with a key, of those that stand on the line.
    """
    *before, current = words or [""]
    line = _Line.of(before)
    return sorted(each for each in _possible(line, current, connect) if each.startswith(current))


def _possible(line: _Line, current: str, connect: Connect) -> Iterable[str]:
    if line.awaited is not None:
        return _inputs(line, connect) if line.awaited is PARAM and "=" not in current else ()
    if current.startswith("-"):
        return (option.flag for option in line.options)
    if line.command is None:
        return (command.name for command in COMMANDS)
    if line.argument is None and line.command.argument == NAME:
        return _names(line, connect)
    return line.command.choices if line.argument is None else ()


def _names(line: _Line, connect: Connect) -> Iterable[str]:
    with contextlib.suppress(CliError):
        return _client(line, connect).registrations()
    return ()


def _inputs(line: _Line, connect: Connect) -> Iterable[str]:
    if line.argument is None:
        return ()
    with contextlib.suppress(CliError):
        properties = _client(line, connect).registration(line.argument)["inputs"].get("properties", {})
        return [f"{name}=" for name in properties]
    return ()


def _client(line: _Line, connect: Connect) -> Client:
    return connect(line.values.get("--url"), line.values.get("--key-file"))
