"""What each command does."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway_service.cli.errors import CliError, Exit
from gateway_service.documentation import markdown_of

if TYPE_CHECKING:
    import argparse

    from gateway_service.cli.client import Client


def list_(client: Client, options: argparse.Namespace) -> None:
    """Print what the key may call."""
    registrations = client.registrations()
    if options.json:
        _say_json(registrations)
        return
    for name, registration in sorted(registrations.items()):
        inputs = ", ".join(registration["inputs"].get("properties", {}))
        stopped = "  stopped" if registration.get("stopped") else ""
        _say(f"{name}  {registration['title']} (version {registration['version']}; inputs: {inputs}){stopped}")
    if not registrations:
        print("Your key may call nothing on this gateway.", file=sys.stderr)


def describe(client: Client, options: argparse.Namespace) -> None:
    """Print what a registration takes and answers."""
    registration = client.registration(options.argument)
    if options.json:
        _say_json(registration)
    else:
        _say(markdown_of(registration), end="")


def run(client: Client, options: argparse.Namespace) -> None:
    """Call a registration and print its outputs."""
    answer = client.execute(options.argument, _body(client, options))
    if options.json:
        _say_json(answer)
    else:
        _say_outputs(answer["outputs"])


def stream(client: Client, options: argparse.Namespace) -> None:
    """Call a registration and print its text while it comes."""
    spoke = ""
    for event, content in client.stream(options.argument, _body(client, options)):
        if options.json:
            _say(json.dumps({"event": event, **content}, ensure_ascii=False))
        elif event == "token":
            spoke = content["text"] or spoke
            _say(content["text"], end="")
        elif event == "done" and not spoke:
            _say_outputs(content["outputs"])
    if spoke and not spoke.endswith("\n"):
        _say("")


COMMANDS = {"list": list_, "describe": describe, "run": run, "stream": stream}
"""By name."""


def _body(client: Client, options: argparse.Namespace) -> dict[str, Any]:
    inputs = {} if options.inputs is None else _read_inputs(options.inputs)
    texts = dict(_split(parameter) for parameter in options.param)
    if texts:
        properties = client.registration(options.argument)["inputs"].get("properties", {})
        inputs |= {name: _value(name, text, properties.get(name, {})) for name, text in texts.items()}
    return {"inputs": inputs} if options.session is None else {"inputs": inputs, "session_id": options.session}


def _read_inputs(file: str) -> dict[str, Any]:
    try:
        inputs = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"--inputs {file} cannot be read: {error.strerror}", Exit.USAGE) from None
    except ValueError as error:
        raise CliError(f"--inputs {file} holds no JSON: {error}", Exit.USAGE) from None
    if not isinstance(inputs, dict):
        raise CliError(f"--inputs {file} must hold a JSON object", Exit.USAGE)
    return inputs


def _split(parameter: str) -> tuple[str, str]:
    name, equals, value = parameter.partition("=")
    if not equals or not name:
        raise CliError(f"--param {parameter!r} is not of the form NAME=VALUE", Exit.USAGE)
    return name, value


def _value(name: str, text: str, schema: Any) -> Any:
    """Text stays text where the input is a string; any other input is written as JSON."""
    if not isinstance(schema, dict) or schema.get("type", "string") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise CliError(f"--param {name} must be JSON of type {schema['type']}", Exit.USAGE) from None


def _say_outputs(outputs: dict[str, Any]) -> None:
    for name, value in outputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        _say(text if len(outputs) == 1 else f"{name}: {text}")


def _say_json(value: Any) -> None:
    _say(json.dumps(value, ensure_ascii=False, indent=2))


def _say(text: str, end: str = "\n") -> None:
    """Print, at once. On a terminal without control characters: a model's words must not steer somebody's screen."""
    print(_harmless(text) if sys.stdout.isatty() else text, end=end, flush=True)


def _harmless(text: str) -> str:
    return "".join("\ufffd" if unicodedata.category(each) == "Cc" and each not in "\n\t" else each for each in text)
